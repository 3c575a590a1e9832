"""The journal of one unit: append-only, each line signed and chained to the one before it (R32). No pictures in it.

A line is a compact JWS of an `Entry`; `previous` is the SHA-256 of the line before, so that a cut or rewritten chain shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from privacy.errors import RecordError, StorageError
from privacy.files import sync_folder
from privacy.records import AT_ISSUE, Authority, Signer, sha256_hex, sign, verify_issued

ENTRY = "lykta-journal"


class Entry(Struct, frozen=True):
    """One line of the journal. facts: flat values, never a picture, never a coordinate of a person."""

    number: int
    unit: str
    t: datetime
    kind: str
    facts: dict[str, str | int | float | None]
    previous: str


class Journal:
    """Appends to `folder`/chain.jws; every entry is on the disk when `append` returns."""

    def __init__(self, folder: Path, unit: str, signer: Signer, now: Callable[[], datetime]) -> None:
        self._path, self._unit, self._signer, self._now = folder / "chain.jws", unit, signer, now
        folder.mkdir(parents=True, exist_ok=True)
        self._number, self.head = _resume(self._path)

    def append(self, kind: str, **facts: str | int | float | None) -> None:
        """Sign and store one entry; `StorageError` if the disk refuses it."""
        entry = Entry(self._number, self._unit, self._now(), kind, facts, self.head)
        line = sign(entry, self._signer, ENTRY)
        size = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._path.parent)
        except OSError as problem:
            # Half a line would join with the next one and break the chain.
            if self._path.exists():
                os.truncate(self._path, size)
            raise StorageError(f"journal: {self._path}: {problem.strerror}", "free space or mend the disk") from problem
        self._number, self.head = self._number + 1, sha256_hex(line)


def verify_chain(path: Path, unit: str, authority: Authority) -> list[Entry]:
    """All entries of a chain, if none was changed, cut out or put in; otherwise `RecordError` with the line's number."""
    entries: list[Entry] = []
    previous = ""
    for number, line in enumerate(_lines(path)):
        # A node that lost the time writes what its clock says; the chain's order holds, so the certificate is judged at its begin.
        entry, _ = verify_issued(line, ENTRY, authority, unit, Entry, AT_ISSUE)
        if (entry.number, entry.previous, entry.unit) != (number, previous, unit):
            raise RecordError(f"journal: line {number + 1} does not follow the line before it", "the chain was changed")
        entries.append(entry)
        previous = sha256_hex(line)
    return entries


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def _resume(path: Path) -> tuple[int, str]:
    """Where to go on; a last line torn by a power cut was never acknowledged and is cut off."""
    data: Any = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        os.truncate(path, len(whole))
    lines = whole.splitlines()
    return len(lines), sha256_hex(lines[-1]) if lines else ""
