"""A centre's keys, and journals of a node's units signed by them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from central.keys.keygen import authority, issue, keygen
from privacy.records.chains import Chain, verify_chain
from privacy.records.journal import Journal
from privacy.records.jws import Authority, Signer, load_chain, load_private_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Desk:
    """A centre's keys and journals of units below one folder, under a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, NOON
        keygen(folder / "keys", [])

    @property
    def authority(self) -> Authority:
        return authority(self.folder / "keys")

    def signer(self, unit: str) -> Signer:
        target = self.folder / unit
        if not target.with_name(f"{unit}.key").exists():
            issue(self.folder / "keys", target, "city/stop-1", unit)
        return Signer(load_private_key(Path(f"{target}.key").read_bytes()), load_chain(Path(f"{target}.pem").read_bytes()))

    def journal(self, unit: str = "camera") -> Journal:
        return Journal(self.place(unit), unit, self.signer(unit), lambda: self.now)

    def place(self, unit: str = "camera") -> Path:
        return self.folder / "journal" / unit

    def chain(self, unit: str = "camera") -> Chain:
        return verify_chain(self.place(unit), unit, self.authority)
