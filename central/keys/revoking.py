"""Revokes a node's certificates: writes the CRL that mosquitto (`crlfile`) and the ingest read (R30)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from central.keys.access_log import log_access
from central.keys.certificates import common_name, issued_certificates
from central.keys.key_folder import authority, old_numbers, public_key, read, signer, write
from privacy.errors import EnrolmentError, RecordError, UsageError
from privacy.records.jws import PrivateKey

_FILE = "crl.pem"
_MARK = b"-----END X509 CRL-----\n"


def revoke(keys: Path, node: str) -> int:
    """Put all certificates of a node on the CRL; returns how many are new there. Entries are never removed."""
    wanted = [one for one in issued_certificates(keys) if one.name == node]
    if not wanted:
        raise UsageError(f"revoke: no certificate was issued to {node}", "issued.jsonl lists all")
    before = {entry.serial_number for crl in _stored_crls(keys) for entry in crl}
    new = [one for one in wanted if int(one.serial) not in before]
    by: dict[str, list[int]] = {}
    for one in new:
        by.setdefault(one.ca, []).append(int(one.serial))
    log_access(keys, "revoke", {"node": node, "certificates": len(new)})
    write_crl(keys, by)
    return len(new)


def write_crl(keys: Path, new: Mapping[str, list[int]]) -> None:
    """Write crl.pem: one CRL for each trusted CA, with all earlier entries. new: serial numbers by the CA's common name."""
    before, lists = {common_name(crl.issuer): crl for crl in _stored_crls(keys)}, []
    for ca in authority(keys).cas:
        name = common_name(ca.subject)
        key, old = _private_key(keys, ca), before.get(name)
        if key:
            old = _new_crl(ca, key, old, new.get(name, []))
        elif new.get(name):
            raise EnrolmentError(f"revoke: the key of {name} is lost", "retire that CA: its certificates end with it")
        # Not `if old`: an empty CRL is false.
        lists.append(b"" if old is None else old.public_bytes(serialization.Encoding.PEM))
    write(keys / _FILE, b"".join(lists), 0o644, replace=True)


def _new_crl(
    ca: x509.Certificate, key: PrivateKey, old: x509.CertificateRevocationList | None, new: list[int]
) -> x509.CertificateRevocationList:
    """A CRL, valid as long as the CA: with an expired CRL a broker refuses everybody, and the CA's key is kept offline."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now)
    builder = builder.next_update(ca.not_valid_after_utc)
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(known, critical=False)
    builder = builder.add_extension(x509.CRLNumber(_crl_number(old) + 1), critical=False)
    for entry in old or ():
        builder = builder.add_revoked_certificate(entry)
    for serial in new:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(revoked.build())
    return builder.sign(key, hashes.SHA256())


def _stored_crls(keys: Path) -> list[x509.CertificateRevocationList]:
    path = keys / _FILE
    data = read(path) if path.exists() else b""
    try:
        return [x509.load_pem_x509_crl(part + _MARK) for part in data.split(_MARK)[:-1]]
    except ValueError as problem:
        raise RecordError(f"{path}: {problem}", "restore the last good crl.pem: its entries must not be lost") from problem


def _crl_number(old: x509.CertificateRevocationList | None) -> int:
    return 0 if old is None else old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def _private_key(keys: Path, ca: x509.Certificate) -> PrivateKey | None:
    """The CA's private key, None if it is not in the folder."""
    names = ["ca", *(f"ca-{number}" for number in old_numbers(keys, "ca"))]
    found = (signer(keys, name) for name in names if (keys / f"{name}.key").exists())
    return next((one.key for one in found if one.key.public_key() == public_key(ca)), None)
