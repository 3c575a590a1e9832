"""Revoking a node's certificates: the CRL that mosquitto (`crlfile`) and our ingest read (R30)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from central.keys.access_log import note
from central.keys.certificates import common_name, issued
from central.keys.key_folder import authority, numbers, public_key, read, signer, write
from privacy.errors import EnrolmentError, RecordError, UsageError
from privacy.records.jws import PrivateKey

_FILE = "crl.pem"
_MARK = b"-----END X509 CRL-----\n"


def revoke(keys: Path, node: str) -> int:
    """Put all certificates of a node on the CRL; how many are new on it. What stands on it stays for ever."""
    wanted = [one for one in issued(keys) if one.name == node]
    if not wanted:
        raise UsageError(f"revoke: no certificate was issued to {node}", "issued.jsonl lists all")
    before = {entry.serial_number for crl in _lists(keys) for entry in crl}
    new = [one for one in wanted if int(one.serial) not in before]
    by: dict[str, list[int]] = {}
    for one in new:
        by.setdefault(one.ca, []).append(int(one.serial))
    note(keys, "revoke", {"node": node, "certificates": len(new)})
    write_crl(keys, by)
    return len(new)


def write_crl(keys: Path, new: Mapping[str, list[int]]) -> None:
    """crl.pem: a list for each CA in force, with what stood there before. new: serials by the CA's common name."""
    before, lists = {common_name(crl.issuer): crl for crl in _lists(keys)}, []
    for ca in authority(keys).cas:
        name = common_name(ca.subject)
        key, old = _key(keys, ca), before.get(name)
        if key:
            old = _list(ca, key, old, new.get(name, []))
        elif new.get(name):
            raise EnrolmentError(f"revoke: the key of {name} is lost", "retire that CA: its certificates end with it")
        # An empty list is false.
        lists.append(b"" if old is None else old.public_bytes(serialization.Encoding.PEM))
    write(keys / _FILE, b"".join(lists), 0o644, replace=True)


def _list(
    ca: x509.Certificate, key: PrivateKey, old: x509.CertificateRevocationList | None, new: list[int]
) -> x509.CertificateRevocationList:
    """Valid as long as the CA: a broker refuses everybody once its list is too old, and the CA's key is off line."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now)
    builder = builder.next_update(ca.not_valid_after_utc)
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(known, critical=False)
    builder = builder.add_extension(x509.CRLNumber(_number(old) + 1), critical=False)
    for entry in old or ():
        builder = builder.add_revoked_certificate(entry)
    for serial in new:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(revoked.build())
    return builder.sign(key, hashes.SHA256())


def _lists(keys: Path) -> list[x509.CertificateRevocationList]:
    path = keys / _FILE
    data = read(path) if path.exists() else b""
    try:
        return [x509.load_pem_x509_crl(part + _MARK) for part in data.split(_MARK)[:-1]]
    except ValueError as problem:
        raise RecordError(f"{path}: {problem}", "put back the last good crl.pem: what stood on it must stay there") from problem


def _number(old: x509.CertificateRevocationList | None) -> int:
    return 0 if old is None else old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def _key(keys: Path, ca: x509.Certificate) -> PrivateKey | None:
    """The CA's private key, if it is still here."""
    names = ["ca", *(f"ca-{number}" for number in numbers(keys, "ca"))]
    found = (signer(keys, name) for name in names if (keys / f"{name}.key").exists())
    return next((one.key for one in found if one.key.public_key() == public_key(ca)), None)
