"""A unit's wish for a new certificate: a key made on the device, signed for by the key it is to follow (R41).

Requests are judged by the centre, certificates by the node; both judge with what is here.
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
"""So long after its end a certificate still vouches for the one that follows it: a node may have been off."""
LATE = timedelta(days=7)
"""So long after two thirds of its life a certificate that was not renewed is worth a warning."""


class Renewal(Struct, frozen=True, forbid_unknown_fields=True):
    """unit: whose certificate, or "tls"; csr: PEM, signed by the new key."""

    site: Label
    node: Label
    unit: Label
    csr: str
    t: Moment


def due_at(certificate: x509.Certificate) -> datetime:
    """When two thirds of its life are over."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin + (end - begin) * 2 / 3


def new_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A P-256 key, and as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, key.private_bytes(*form)


def request(key: ec.EllipticCurvePrivateKey, present: Signer, node: tuple[str, str], unit: str, now: datetime) -> bytes:
    """The signed wish for a certificate of `key`, in the name that the present certificate bears."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(present.chain[0].subject)
    csr = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    return sign(Renewal(*node, unit, csr, now), present, RENEWAL)


def wished_key(token: bytes) -> ec.EllipticCurvePublicKey:
    """The new public key of a wish that lies where only root writes."""
    return _new_public_key(peek(token, RENEWAL, Renewal))


def read_request(token: bytes, authority: Authority, now: datetime) -> tuple[Renewal, ec.EllipticCurvePublicKey]:
    """The wish and the new public key, if the unit itself signed it, by a certificate that ended at most 30 days ago."""
    try:
        wish, party = verify_issued(token, RENEWAL, authority, lambda wish: wish.unit, Renewal, now)
    except RecordError:
        wish, party = verify_issued(token, RENEWAL, authority, lambda wish: wish.unit, Renewal, now - GRACE)
    if party.name != f"{wish.site}/{wish.node}":
        raise RecordError(f"renewal: node: signed by {party.name} (got {wish.site}/{wish.node})", "each node asks for itself")
    return wish, _new_public_key(wish)


def check_answer(chain: tuple[x509.Certificate, ...], authority: Authority, node: str, unit: str) -> None:
    """`RecordError` unless the first certificate is this node's for that unit, and of our centre."""
    party = certificate_party(chain, authority)
    if (party.name, party.role) != (node, unit):
        raise RecordError(f"{unit}: certificate is for {party.name} as {party.role!r}", f"this is {node} as {unit!r}")


def _new_public_key(wish: Renewal) -> ec.EllipticCurvePublicKey:
    """The key of the request inside; `RecordError` unless it is one of ours, signed by itself."""
    anew = "`lykta renew` makes it anew"
    try:
        csr = x509.load_pem_x509_csr(wish.csr.encode())
        key, valid, names = csr.public_key(), csr.is_signature_valid, csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except UNUSABLE as problem:
        raise RecordError(f"renewal: csr: {problem}", anew) from problem
    if not valid:
        raise RecordError("renewal: csr: not signed by its own key", anew)
    if not names or names[0].value != f"{wish.site}/{wish.node}":
        raise RecordError("renewal: csr: bears another name", anew)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise RecordError("renewal: csr: not a P-256 key", anew)
    return key
