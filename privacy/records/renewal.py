"""A unit's request for a new certificate: for a key made on the node, signed with the unit's present key (R41).

The centre checks requests and the node checks certificates; both use this module.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

from privacy.errors import RecordError
from privacy.records.basis import Label, Moment
from privacy.records.jws import UNUSABLE, Authority, Signer, certificate_party, peek, sign, verify_issued

RENEWAL = "lykta-renewal"
GRACE = timedelta(days=30)
"""A request is accepted so long after the end of the present certificate, because the node may have been switched off."""
LATE = timedelta(days=7)
"""A warning is due if a certificate is not renewed so long after two thirds of its lifetime."""


class Renewal(Struct, frozen=True, forbid_unknown_fields=True):
    """A request for a certificate.

    unit   the unit that it is for, or "tls"
    csr    certificate signing request in PEM, signed by the new key
    t      time of the request
    """

    site: Label
    node: Label
    unit: Label
    csr: str
    t: Moment


def due_at(certificate: x509.Certificate) -> datetime:
    """When two thirds of a certificate's lifetime are over: the time to renew it."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin + (end - begin) * 2 / 3


def new_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A new P-256 key, and its PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, key.private_bytes(*form)


def request(key: ec.EllipticCurvePrivateKey, present: Signer, node: tuple[str, str], unit: str, now: datetime) -> bytes:
    """A signed request for a certificate of `key`, with the subject of the present certificate.

    present   the unit's present key and certificate, which sign the request
    node      site and node
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(present.chain[0].subject)
    csr = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    return sign(Renewal(*node, unit, csr, now), present, RENEWAL)


def requested_key(token: bytes) -> ec.EllipticCurvePublicKey:
    """The new public key in a request, signature not verified: for files that only root can write."""
    return _new_public_key(peek(token, RENEWAL, Renewal))


def read_request(token: bytes, authority: Authority, now: datetime) -> tuple[Renewal, ec.EllipticCurvePublicKey]:
    """The request and the new public key, if the unit itself signed it with a certificate that ended at most `GRACE` ago; otherwise
    `RecordError`."""
    try:
        renewal, party = verify_issued(token, RENEWAL, authority, lambda renewal: renewal.unit, Renewal, now)
    except RecordError:
        renewal, party = verify_issued(token, RENEWAL, authority, lambda renewal: renewal.unit, Renewal, now - GRACE)
    if party.name != f"{renewal.site}/{renewal.node}":
        raise RecordError(
            f"renewal: node: signed by {party.name} (got {renewal.site}/{renewal.node})", "a node may only ask for itself"
        )
    return renewal, _new_public_key(renewal)


def check_answer(chain: tuple[x509.Certificate, ...], authority: Authority, node: str, unit: str) -> None:
    """`RecordError` unless the first certificate is for this node and unit, and was issued by the centre. node: SITE/NODE."""
    party = certificate_party(chain, authority)
    if (party.name, party.role) != (node, unit):
        raise RecordError(f"{unit}: certificate is for {party.name} as {party.role!r}", f"this is {node} as {unit!r}")


def _new_public_key(renewal: Renewal) -> ec.EllipticCurvePublicKey:
    """The public key in the certificate signing request; `RecordError` unless it is P-256, for this node, and signed by itself."""
    hint = "`lykta renew` makes a new one"
    try:
        csr = x509.load_pem_x509_csr(renewal.csr.encode())
        key, valid, names = csr.public_key(), csr.is_signature_valid, csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except UNUSABLE as problem:
        raise RecordError(f"renewal: csr: {problem}", hint) from problem
    if not valid:
        raise RecordError("renewal: csr: not signed by its own key", hint)
    if not names or names[0].value != f"{renewal.site}/{renewal.node}":
        raise RecordError("renewal: csr: has another name", hint)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise RecordError("renewal: csr: not a P-256 key", hint)
    return key
