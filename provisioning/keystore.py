"""The node's private keys on the disk, for root: plain (<unit>.key), or sealed to this machine (<unit>.cred).

<unit>.key|.cred  <unit>.pem            key and certificate in use
<unit>.next.…                           a new key that waits for its certificate, or for the second step of the swap
<unit>.previous.…                       TLS key only: the key before, kept until the new one has connected
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
class UnitKeys:
    """One unit's keys and certificates in `folder`."""

    folder: Path
    unit: str

    @classmethod
    def of(cls, layout: Layout, unit: str) -> UnitKeys:
        found = cls(layout.certificates, unit)
        if not found.key().exists():
            raise EnrolmentError(f"not enrolled: {found.key()} is missing", "place the node's bundle under etc/lykta")
        return found

    def key(self, stage: str = "") -> Path:
        """File of a key. stage: "" (in use), ".next" or ".previous"."""
        suffix = ".cred" if (self.folder / f"{self.unit}.cred").exists() else ".key"
        return self.folder / f"{self.unit}{stage}{suffix}"

    def pem(self, stage: str = "") -> Path:
        return self.folder / f"{self.unit}{stage}.pem"

    def signer(self, stage: str = "") -> Signer:
        """The key of a stage, with its certificate if there is one."""
        path = self.key(stage)
        key = load_private_key(unsealed(path, f"{self.unit}.key") if path.suffix == ".cred" else read_own(path))
        return Signer(key, matching(self.folder, self.unit, key.public_key()) or ())

    def keep_next(self, pem: bytes) -> None:
        """Store the new private key, readable for root only. Done before the certificate is requested, so that the key cannot be
        lost afterwards."""
        path = self.key(".next")
        place(path, sealed(pem, f"{self.unit}.key") if path.suffix == ".cred" else pem, mode=PRIVATE)

    def swap(self, *, keep: bool) -> None:
        """Put the next key and certificate into use; `next.pem` must exist. The new key is in use from the rename of its file on.

        Between the two renames the certificate of the key in use is `next.pem`, where `matching` finds it.
        keep: store the present pair as ".previous", for `restore_previous`.
        """
        if self.key(".next").exists():
            if keep and self.pem().exists():
                place(self.key(".previous"), read_own(self.key()), mode=PRIVATE)
                place(self.pem(".previous"), read_own(self.pem()), mode=PUBLIC)
            self.key(".next").replace(self.key())
            sync_folder(self.folder)
        self.pem(".next").replace(self.pem())
        sync_folder(self.folder)

    def restore_previous(self) -> None:
        """Put the previous key and certificate into use again, in the same order of steps as `swap`."""
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
    """The certificates of a public key: <unit>.pem, or <unit>.next.pem while a swap is incomplete; None if neither fits."""
    for name in (f"{unit}.pem", f"{unit}.next.pem"):
        path = folder / name
        if path.exists():
            chain = load_chain(read_own(path))
            if chain[0].public_key() == key:
                return chain
    return None
