"""The centre's CA: makes it, issues certificates, and lists all that were issued (issued.jsonl)."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from central.keys.key_folder import authority, public_key, read, signer, write, write_key
from privacy.errors import RecordError
from privacy.files import PUBLIC, append
from privacy.foreign import decode
from privacy.records.jws import Signer, load_chain

CA_YEARS, LEAF_YEARS = 10, 2
# A new certificate must be valid for a node whose clock is a little slow.
_BACKDATE = timedelta(hours=1)
_ISSUED = "issued.jsonl"


class Issued(Struct, frozen=True):
    """A line of issued.jsonl. serial: decimal; name: common name; role: organisational unit; ca: the issuing CA's common name."""

    serial: str
    name: str
    role: str
    ca: str
    t: datetime


def make_ca(folder: Path) -> None:
    """Make a new CA and put it first in ca.pem. Each CA has its own name, so that its CRL and certificates can be recognised."""
    before = load_chain(read(folder / "ca.pem")) if (folder / "ca.pem").exists() else ()
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Lykta CA {_number(before) + 1}" if before else "Lykta CA", "ca")
    builder = _builder(name, name, key.public_key(), CA_YEARS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = builder.add_extension(signs, critical=True)
    # The certificate first: a CA key is used only if ca.pem lists its certificate first.
    write(folder / "ca.pem", b"".join(map(pem, (builder.sign(key, hashes.SHA256()), *before))), 0o644, replace=True)
    write_key(folder / "ca.key", key)


def issuer(folder: Path) -> Signer:
    """The CA in force, with its certificate; `RecordError` if a rotation was interrupted."""
    ca = signer(folder, "ca")
    if public_key(ca.chain[0]) != ca.key.public_key():
        raise RecordError("ca: key: is not that of the first certificate in ca.pem", "run keygen --rotate ca again")
    return ca


def issue(folder: Path, target: Path, name: str, role: str, *, hosts: Sequence[str] = (), replace: bool = False) -> None:
    """Make a key and its certificate (target.key, target.pem): common name `name`, organisational unit `role`.

    hosts   for servers: names and addresses in the certificate
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = certify(folder, key.public_key(), name, role, hosts=hosts)
    write_key(target.with_name(f"{target.name}.key"), key, replace=replace)
    write(target.with_name(f"{target.name}.pem"), certificate, 0o644, replace=replace)


def certify(folder: Path, key: ec.EllipticCurvePublicKey, name: str, role: str, *, hosts: Sequence[str] = ()) -> bytes:
    """Issue a certificate (PEM) for a public key: common name `name`, organisational unit `role`. Needs the CA's key."""
    ca = issuer(folder)
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = _builder(_name(name, role), ca.chain[0].subject, key, LEAF_YEARS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    builder = builder.add_extension(known, critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative_name(host) for host in hosts]), critical=False)
    certificate = builder.sign(ca.key, hashes.SHA256())
    _record_issued(folder, certificate)
    return pem(certificate)


def issue_again(folder: Path, target: Path) -> None:
    """Replace target.key and target.pem: same name, role and hosts, new key, certified by the CA in force."""
    certificate = load_chain(read(target.with_name(f"{target.name}.pem")))[0]
    name, role = common_name(certificate.subject), _attribute(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    issue(folder, target, name, role, hosts=_hosts(certificate), replace=True)


def issued_certificates(folder: Path) -> list[Issued]:
    """Every certificate that the CAs of this folder issued, oldest first."""
    path = folder / _ISSUED
    return [decode(line, Issued, "issued.jsonl") for line in (read(path).splitlines() if path.exists() else [])]


def issued_by_current_ca(folder: Path, target: Path) -> bool:
    """Whether the CA in force issued target.pem."""
    certificate = load_chain(read(target.with_name(f"{target.name}.pem")))[0]
    return certificate.issuer == authority(folder).cas[0].subject


def common_name(name: x509.Name) -> str:
    return _attribute(name, NameOID.COMMON_NAME)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _record_issued(folder: Path, certificate: x509.Certificate) -> None:
    """Add a line to issued.jsonl, synced before the certificate is written: one that is not listed could not be revoked."""
    subject, ca = certificate.subject, common_name(certificate.issuer)
    role = _attribute(subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    line = Issued(str(certificate.serial_number), common_name(subject), role, ca, datetime.now(UTC))
    with os.fdopen(append(folder / _ISSUED, PUBLIC), "wb") as file:
        file.write(msgspec.json.encode(line) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _number(before: Sequence[x509.Certificate]) -> int:
    numbers = (common_name(ca.subject).rpartition(" ")[2] for ca in before)
    return max((int(number) for number in numbers if number.isdecimal()), default=1)


def _builder(subject: x509.Name, by: x509.Name, key: ec.EllipticCurvePublicKey, years: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _BACKDATE).not_valid_after(now + timedelta(days=365 * years))


def _name(common: str, unit: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit), x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    return str(name.get_attributes_for_oid(oid)[0].value)


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]
