"""The node's private keys on the disk, as root sees them: plain, or sealed to this machine (<unit>.cred).

<unit>.key|.cred  <unit>.pem            in force
<unit>.next.…                           made and waiting for its certificate, or for the second half of the swap
<unit>.previous.…                       of the TLS key only, until the new one has connected
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drivers.creds import sealed, unsealed
from privacy.errors import EnrolmentError
from privacy.files import PRIVATE, PUBLIC, place, read_own, sync_folder
from privacy.records.jws import Certificates, Signer, load_chain, load_private_key
from provisioning.layout import Layout


@dataclass(frozen=True)
class KeyPlace:
    """One unit's keys and certificates."""

    folder: Path
    unit: str

    @classmethod
    def of(cls, layout: Layout, unit: str) -> KeyPlace:
        found = cls(layout.certificates, unit)
        if not found.key().exists():
            raise EnrolmentError(f"not enrolled: {found.key()} is missing", "place the node's bundle under etc/lykta")
        return found

    def key(self, stage: str = "") -> Path:
        """stage: "", ".next" or ".previous"."""
        suffix = ".cred" if (self.folder / f"{self.unit}.cred").exists() else ".key"
        return self.folder / f"{self.unit}{stage}{suffix}"

    def pem(self, stage: str = "") -> Path:
        return self.folder / f"{self.unit}{stage}.pem"

    def signer(self, stage: str = "") -> Signer:
        """The key of a stage, with the certificate that fits it."""
        path = self.key(stage)
        key = load_private_key(unsealed(path, f"{self.unit}.key") if path.suffix == ".cred" else read_own(path))
        return Signer(key, matching(self.folder, self.unit, key.public_key()) or ())

    def keep_next(self, pem: bytes) -> None:
        """The new private key: on the disk, for root alone, before anybody hears of it."""
        path = self.key(".next")
        place(path, sealed(pem, f"{self.unit}.key") if path.suffix == ".cred" else pem, mode=PRIVATE)

    def swap(self, *, keep: bool) -> None:
        """The waiting pair comes into force; `next.pem` must be there. The key's rename is the moment.

        Between the two renames the key in force fits `next.pem`, where `matching` finds it. keep: the pair before, for `go_back`.
        """
        if self.key(".next").exists():
            if keep and self.pem().exists():
                place(self.key(".previous"), read_own(self.key()), mode=PRIVATE)
                place(self.pem(".previous"), read_own(self.pem()), mode=PUBLIC)
            self.key(".next").replace(self.key())
            sync_folder(self.folder)
        self.pem(".next").replace(self.pem())
        sync_folder(self.folder)

    def go_back(self) -> None:
        """The pair before comes into force again, in the same order of steps."""
        place(self.pem(".next"), read_own(self.pem(".previous")), mode=PUBLIC)
        self.key(".previous").replace(self.key())
        sync_folder(self.folder)
        self.pem(".next").replace(self.pem())
        self.forget_previous()

    def forget_previous(self) -> None:
        for path in (self.key(".previous"), self.pem(".previous")):
            path.unlink(missing_ok=True)
        sync_folder(self.folder)


def matching(folder: Path, unit: str, key: object) -> Certificates | None:
    """The certificate of a key: the one in force, or the next one while a swap is under way."""
    for name in (f"{unit}.pem", f"{unit}.next.pem"):
        path = folder / name
        if path.exists():
            chain = load_chain(read_own(path))
            if chain[0].public_key() == key:
                return chain
    return None
