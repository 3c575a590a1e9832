"""Revoked certificates: reads KEYS/crl.pem, signed by the CA, and reads it again when it changes (R30)."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from central.keys.key_folder import LONGEST
from privacy.errors import RecordError
from privacy.files import read_own
from privacy.records.jws import Authority


class RevocationList:
    """The current CRL. An absent file revokes nothing; with an invalid one every `has` is `RecordError`, so nobody gets in."""

    def __init__(self, path: Path, authority: Authority) -> None:
        self._path, self._authority = path, authority
        self._seen: tuple[int, int, int] | None = None
        self._serials: frozenset[int] = frozenset()

    def has(self, serial: int) -> bool:
        """Whether a certificate's serial number is listed. Asked for every request, because a connection may last for days."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._serials = None, frozenset()
            return False
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen != self._seen:
            self._serials = self._read()
            self._seen = seen
        return serial in self._serials

    def _read(self) -> frozenset[int]:
        try:
            listed = x509.load_pem_x509_crl(read_own(self._path, most=LONGEST))
        except (ValueError, OSError) as problem:
            raise RecordError(f"crl: {self._path}: {problem}", "write it again with lykta-central revoke") from problem
        if not any(listed.is_signature_valid(ca.public_key()) for ca in self._authority.cas):  # type: ignore[arg-type]
            raise RecordError(f"crl: {self._path}: is not signed by this centre's CA", "write it again with lykta-central revoke")
        return frozenset(one.serial_number for one in listed)
