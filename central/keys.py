"""The centre's keys in one folder: a small CA, the basis, command and receipt keys, servers' certificates, the clip identity."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privacy.errors import EnrolmentError, UsageError
from privacy.records import Authority, PrivateKey, Signer, load_chain, load_private_key

CA_YEARS, LEAF_YEARS = 10, 2
# A node whose clock lags a little must still find a new certificate valid.
_BACKDATE = timedelta(hours=1)


def keygen(folder: Path, hosts: Sequence[str]) -> None:
    """Make all keys; an existing folder of keys is never overwritten."""
    if any(folder.glob("*.key")):
        raise UsageError(f"keygen: {folder}: holds keys already", "name a new folder; keys are never overwritten")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make_ca(folder)
    for name in ("basis", "command"):
        write_key(folder / f"{name}.key", ec.generate_private_key(ec.SECP256R1()))
    issue(folder, folder / "receipt", "receipt", "receipt")
    issue(folder, folder / "ops", "ops", "ops")
    for server in ("ingest", "broker"):
        issue(folder, folder / server, server, "server", hosts=hosts)
    identity = pyrage.x25519.Identity.generate()
    _write(folder / "identity.txt", f"{identity}\n".encode(), 0o600)
    _write(folder / "recipients.txt", f"{identity.to_public()}\n".encode(), 0o644)


def issue(folder: Path, target: Path, name: str, role: str, *, hosts: Sequence[str] = ()) -> None:
    """A new key and its certificate (target.key, target.pem): common name = who, organisational unit = role."""
    key = ec.generate_private_key(ec.SECP256R1())
    ca, ca_key = load_chain(read(folder / "ca.pem"))[0], load_private_key(read(folder / "ca.key"))
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = _builder(_name(name, role), ca.subject, key, LEAF_YEARS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
    write_key(target.with_name(f"{target.name}.key"), key)
    _write(target.with_name(f"{target.name}.pem"), _pem(builder.sign(ca_key, hashes.SHA256())), 0o644)


def signer(folder: Path, name: str) -> Signer:
    """A key of the folder, with its certificate where it has one."""
    certificate = folder / f"{name}.pem"
    chain = load_chain(certificate.read_bytes()) if certificate.exists() else ()
    return Signer(load_private_key(read(folder / f"{name}.key")), chain)


def authority(folder: Path) -> Authority:
    return Authority(load_chain(read(folder / "ca.pem")))


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise EnrolmentError(f"keys: {path}: {problem.strerror}", "lykta-central keygen DIR makes them") from problem


def write_key(path: Path, key: PrivateKey) -> None:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(path, key.private_bytes(*form), 0o600)


def _make_ca(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Lykta CA", "ca")
    builder = _builder(name, name, key, CA_YEARS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = builder.add_extension(signs, critical=True)
    write_key(folder / "ca.key", key)
    _write(folder / "ca.pem", _pem(builder.sign(key, hashes.SHA256())), 0o644)


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, years: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _BACKDATE).not_valid_after(now + timedelta(days=365 * years))


def _name(common: str, unit: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit), x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
