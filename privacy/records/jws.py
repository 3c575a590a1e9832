"""Signed records: canonical JSON in a compact JWS (ES256), the signer's certificate chain in `x5c`.

Canonical JSON here has sorted keys, no spaces and is UTF-8: the same record gives the same bytes.
A signer is trusted in one of two ways: a trusted key set lists the public key by `kid`, or a certificate chain ends at the
centre's CA and has the required role as its organisational unit.
Source: RFC 7515 (JWS), RFC 7518 section 3.4 (ES256), RFC 7515 section 4.1.6 (x5c).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from msgspec import Struct

from privacy.errors import RecordError
from privacy.foreign import LONGEST, decode

T = TypeVar("T")
AT_ISSUE = datetime.min.replace(tzinfo=UTC)
"""Check a certificate as of its time of issue: for records whose own time may be wrong."""
PrivateKey = ec.EllipticCurvePrivateKey
Certificates = tuple[x509.Certificate, ...]
Chain = Sequence[x509.Certificate]


class _Registry(jws.JWSRegistry):
    """Allows a certificate chain in the header: joserfc's own limit is 512 bytes."""

    max_header_length = 16 * 1024


_REGISTRY = _Registry(algorithms=["ES256"])
_LONGEST_CHAIN = 4
UNUSABLE = (ValueError, TypeError, UnsupportedAlgorithm, InternalError, x509.InvalidVersion)
"""What `cryptography` raises for keys, certificates and requests that are damaged or of an unknown kind."""
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")


class _Header(Struct, frozen=True):
    """The header of a signed record."""

    typ: str
    alg: Literal["ES256"]
    kid: str = ""
    x5c: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Token:
    """The parts of a compact JWS, signature not verified. signed: the bytes that the signature covers."""

    header: _Header
    payload: bytes
    signed: bytes


@dataclass(frozen=True)
class Signer:
    """A private key and its certificate chain; without a chain a verifier finds the public key by its id."""

    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @cached_property
    def kid(self) -> str:
        return thumbprint(self.key.public_key())


@dataclass(frozen=True)
class TrustedKeys:
    """Public keys by key id, as `basis-keys.jws` and `command-keys.jws` list them."""

    keys: dict[str, ec.EllipticCurvePublicKey]


@dataclass(frozen=True)
class Authority:
    """The centre's CAs. A certificate that one of them issued is trusted for the role in its organisational unit.

    There is more than one while a CA is being replaced, and for older evidence (docs/KEY-DRILLS.md).
    """

    cas: tuple[x509.Certificate, ...]


@dataclass(frozen=True)
class Party:
    """The signer: common name and role (organisational unit) of the leaf certificate, and its public key."""

    name: str
    role: str
    public_key: ec.EllipticCurvePublicKey


def canonical(record: Any) -> bytes:
    """The canonical bytes of a record, which are signed and hashed."""
    return msgspec.json.encode(record, order="sorted")


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """RFC 7638 thumbprint, base64url: the key's id."""
    return str(ECKey.import_key(key).thumbprint())


def sign(record: Any, signer: Signer, kind: str) -> bytes:
    """Compact JWS of the canonical record. kind: the header's `typ`, which must match at verification."""
    header: dict[str, Any] = {"alg": "ES256", "typ": kind, "kid": signer.kid}
    if signer.chain:
        header["x5c"] = [base64.b64encode(c.public_bytes(serialization.Encoding.DER)).decode() for c in signer.chain]
    token = jws.serialize_compact(header, canonical(record), ECKey.import_key(signer.key), registry=_REGISTRY)
    return token.encode()


def verify_listed(token: bytes, kind: str, trusted: TrustedKeys, into: type[T]) -> T:
    """The record, if a listed key signed it; otherwise `RecordError`."""
    kid = _header(token, kind).kid
    key = trusted.keys.get(kid)
    if key is None:
        raise RecordError(f"{kind}: signed by a key that is not trusted here (kid {kid[:80]})", "ask the centre")
    return _decode(_payload(token, key, kind), kind, into)


def verify_issued(
    token: bytes,
    kind: str,
    authority: Authority,
    role: str | Callable[[T], str],
    into: type[T],
    at: datetime | Callable[[T], datetime] | None = None,
) -> tuple[T, Party]:
    """The record and its signer, if a certificate of the centre's CA with that role signed it; otherwise `RecordError`.

    role   the required role, or a function that takes it from the record
    at     when the certificate must have been valid: a time, or a function that takes it from the record, so that old evidence
           stays valid and a node that has lost the time can read its own clips; default: now
    """
    leaf, party = _party(_chain(_header(token, kind), kind), authority, kind)
    record = _decode(_payload(token, party.public_key, kind), kind, into)
    wanted = role(record) if callable(role) else role
    if party.role != wanted:
        raise RecordError(f"{kind}: signer has the role {party.role!r}, not {wanted!r}", "this record was made by the wrong unit")
    moment = at(record) if callable(at) else at or datetime.now(UTC)
    if moment is not AT_ISSUE and not leaf.not_valid_before_utc <= moment <= leaf.not_valid_after_utc:
        raise RecordError(f"{kind}: signer's certificate was not valid at {moment:%Y-%m-%d %H:%M} UTC", "renew the certificate")
    return record, party


def check_intact(token: bytes, kind: str, into: type[T]) -> None:
    """`RecordError` if a record's signature does not match its own certificate. Detects damage only: the certificate is not
    checked."""
    chain = certificates_of(token, kind)
    if not chain:
        raise RecordError(f"{kind}: carries no certificate", "the record was made by an unenrolled unit")
    _decode(_payload(token, _ec(chain[0].public_key(), kind), kind), kind, into)


def peek(token: bytes, kind: str, into: type[T]) -> T:
    """The record, signature not verified: for lists and sorting, not for decisions. `RecordError` if it is not a record."""
    _header(token, kind)
    return _decode(_split(token, kind).payload, kind, into)


def kind_of(token: bytes) -> str:
    """The kind (`typ`) of a signed record, not verified; "" if it is not a record."""
    try:
        return _split(token, "record").header.typ
    except RecordError:
        return ""


def key_set(keys: Sequence[ec.EllipticCurvePublicKey]) -> dict[str, Any]:
    """JSON Web Key Set of public keys, to be signed by the CA."""
    return {"keys": [{**ECKey.import_key(k).as_dict(private=False), "kid": thumbprint(k)} for k in keys]}


def verify_by_ca(token: bytes, kind: str, authority: Authority, into: type[T]) -> T:
    """The record, if a CA itself signed it; otherwise `RecordError`."""
    signed_by = _header(token, kind).kid
    own = {thumbprint(key): key for key in (_ec(ca.public_key(), kind) for ca in authority.cas)}
    if signed_by not in own:
        raise RecordError(f"{kind}: not signed by this centre's CA (kid {signed_by[:80]})", "fetch the trust folder again")
    return _decode(_payload(token, own[signed_by], kind), kind, into)


def verify_key_set(token: bytes, kind: str, authority: Authority) -> TrustedKeys:
    """The keys of a key set, if a CA itself signed it; otherwise `RecordError`."""
    listed = verify_by_ca(token, kind, authority, dict[str, list[dict[str, Any]]])
    try:
        keys = [_ec(ECKey.import_key(k).public_key, kind) for k in listed["keys"]]
    except (JoseError, KeyError, AttributeError, *UNUSABLE) as problem:
        raise RecordError(f"{kind}: not a key set: {problem}", "fetch the trust folder again") from problem
    return TrustedKeys({thumbprint(k): k for k in keys})


def load_private_key(pem: bytes) -> PrivateKey:
    """A P-256 private key from PEM; `RecordError` if it is not one."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except UNUSABLE as problem:
        raise RecordError(f"private key: {problem}", "the key file is damaged; enrol again") from problem
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise RecordError("private key: not a P-256 key", "enrol again")
    return key


def load_chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates from PEM, leaf first; `RecordError` if they are invalid."""
    try:
        return _usable(x509.load_pem_x509_certificates(pem))  # noqa: TID251 - here
    except UNUSABLE as problem:
        raise RecordError(f"certificate: {problem}", "the certificate file is damaged; enrol again") from problem


def token_id(token: bytes) -> str:
    """The id of a signed record: the SHA-256 of its signing input (RFC 7515 section 5.1).

    Not of the whole token: white space around it, or another valid signature of the same content, does not make another record.
    """
    return sha256_hex(token.strip().rpartition(b".")[0])


def _split(token: bytes, kind: str, most: int = LONGEST) -> _Token:
    token = token.strip()
    if len(token) > most:
        raise RecordError(f"{kind}: must be at most {most} bytes (got {len(token)})", "the file is damaged or was edited")
    parts = token.split(b".")
    if len(parts) != 3:
        raise RecordError(f"{kind}: not a signed record: {len(parts)} parts, not three", "the file is damaged or was edited")
    header, payload, _ = (_from_base64url(part, kind) for part in parts)
    if len(header) > _Registry.max_header_length:
        raise RecordError(f"{kind}: not a signed record: its header is too long", "the file is damaged or was edited")
    found = decode(header, _Header, f"{kind}: not a signed record: header", hint="the file is damaged or was edited")
    return _Token(found, payload, token.rpartition(b".")[0])


def _from_base64url(text: bytes, kind: str) -> bytes:
    """Decode URL-safe base64 without padding (RFC 7515 section 2)."""
    if not _BASE64URL.fullmatch(text):
        raise RecordError(f"{kind}: not a signed record: not base64url", "the file is damaged or was edited")
    try:
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError as problem:
        raise RecordError(f"{kind}: not a signed record: {problem}", "the file is damaged or was edited") from problem


def _header(token: bytes, kind: str) -> _Header:
    header = _split(token, kind).header
    if header.typ != kind:
        raise RecordError(f"{kind}: this is a {header.typ[:40]!r}", "wrong file")
    return header


def _payload(token: bytes, key: ec.EllipticCurvePublicKey, kind: str) -> bytes:
    try:
        return bytes(jws.deserialize_compact(token.strip(), ECKey.import_key(key), registry=_REGISTRY).payload)
    except (JoseError, KeyError, AttributeError, *UNUSABLE) as problem:
        raise RecordError(f"{kind}: bad signature", "the record was changed after signing or signed by another key") from problem


def _decode(payload: bytes, kind: str, into: type[T]) -> T:
    return decode(payload, into, kind, hint="signed by a newer or older lykta-central?")


def _chain(header: _Header, kind: str) -> tuple[x509.Certificate, ...]:
    if len(header.x5c) > _LONGEST_CHAIN:
        raise RecordError(f"{kind}: at most {_LONGEST_CHAIN} certificates (got {len(header.x5c)})", "the record was edited")
    try:
        der = (base64.b64decode(text, validate=True) for text in header.x5c)
        return _usable(x509.load_der_x509_certificate(one) for one in der)  # noqa: TID251 - here
    except UNUSABLE as problem:
        raise RecordError(f"{kind}: damaged certificate chain: {problem}", "the record was edited") from problem


def _usable(certificates: Iterable[x509.Certificate]) -> Certificates:
    """The certificates, after all used fields were read: `cryptography` decodes them on access and may raise only then."""
    found = tuple(certificates)
    for one in found:
        one.public_key()
        one.subject, one.issuer, one.not_valid_before_utc, one.not_valid_after_utc  # noqa: B018 - each may raise
    return found


def _party(chain: Chain, authority: Authority, kind: str) -> tuple[x509.Certificate, Party]:
    if not chain:
        raise RecordError(f"{kind}: carries no certificate", "the record was made by an unenrolled unit")
    leaf = chain[0]
    if not any(_issued(leaf, ca) for ca in authority.cas):
        raise RecordError(f"{kind}: signer's certificate is not of this centre", "a record of another municipality?")
    key = _ec(leaf.public_key(), kind)
    return leaf, Party(_name(leaf, NameOID.COMMON_NAME), _name(leaf, NameOID.ORGANIZATIONAL_UNIT_NAME), key)


def certificates_of(token: bytes, kind: str) -> tuple[x509.Certificate, ...]:
    """The certificate chain in a record, not verified."""
    return _chain(_header(token, kind), kind)


def certificate_party(chain: Chain, authority: Authority) -> Party:
    """The owner of a certificate, if the centre's CA issued it; otherwise `RecordError`."""
    return _party(chain, authority, "certificate")[1]


def _issued(leaf: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(ca)
    except (InvalidSignature, *UNUSABLE):
        return False
    return True


def _name(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _ec(key: object, kind: str) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RecordError(f"{kind}: not an elliptic-curve key", "only P-256 is used")
    return key
