"""Parcels: what the uplink packs, signs and sends beside clips. Closed journal segments, once each; reports and diagnoses.

<uplink>/journal/<unit>/<first>.parcel.jws    packed; with <first>.receipt.jws the centre has it
<uplink>/outgoing/<id>/                       a report or a diagnosis; parcel.jws comes last, and the receipt deletes all
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Literal
from uuid import UUID

import msgspec

from agent.config import Node
from agent.pieces import Item
from agent.sending import Rank
from agent.shelf import Key
from privacy.errors import AccessError, LyktaError, RecordError, StorageError, UsageError
from privacy.files import place, sync_folder
from privacy.journal import ENTRY, Entry, segments
from privacy.manifest import PARCEL, FileName, Parcel, SealedFile, read_receipt
from privacy.records import Signer, peek, sha256_hex, sign
from provisioning.identity import UNITS, load_authority
from provisioning.layout import Layout

Sent = Literal["report", "diag"]
MOST_BYTES = 190_000
"""Of one report or diagnosis: as much as a line of the control socket holds in base64."""
_MOST_PARCELS = 20


class Parcels:
    """`keep` may be called from another thread; all else is the uploader's."""

    def __init__(self, layout: Layout, node: Node, signer: Signer, now: Callable[[], datetime]) -> None:
        self._layout, self._node, self._signer, self._now = layout, node, signer, now
        self._journals = layout.uplink / "journal"
        self._outgoing = layout.uplink / "outgoing"
        self._lock = Lock()
        self._segments: list[Key] = []
        self.trouble: LyktaError | None = None
        """A journal that is there and cannot be read."""
        self.dropped = 0
        """Diagnoses that gave way to newer ones since the start."""
        self._clear()

    @property
    def waiting(self) -> list[Key]:
        return [*((Rank.HANDED_IN, parcel) for parcel in self._kept()), *self._segments]

    def look_through(self) -> None:
        """Of each unit the oldest closed segment that the centre has not got: a chain is sent in its order."""
        self.trouble = None
        keys = [self._next_of(unit) for unit in UNITS]
        self._segments = sorted(key for key in keys if key)

    def keep(self, kind: Sent, name: str, data: bytes) -> str:
        """Take a report or a diagnosis to send: its id. It is on the disk when this returns."""
        _check(name, data)
        with self._lock, _told(self._outgoing):
            self._make_room(kind)
            file = SealedFile(name, len(data), sha256_hex(data))
            now = self._now()
            parcel = self._parcel(uuid7(now, os.urandom(16)), kind, now, file, {})
            folder = self._outgoing / parcel.id
            folder.mkdir(mode=0o750, parents=True)
            sync_folder(self._layout.uplink)
            place(folder / name, data)
            place(folder / "parcel.jws", sign(parcel, self._signer, PARCEL))
            sync_folder(self._outgoing)
        return parcel.id

    def fetch(self, key: Key) -> Item:
        """A parcel as it is uploaded; a segment is packed the first time."""
        if key[0] is Rank.JOURNAL:
            unit, first = key[1].split("/")
            path, token = self._layout.journal(unit) / f"{first}.jws", self._packed(unit, first)
        else:
            path = self._outgoing / key[1] / "parcel.jws"
            token = _read(path)
        parcel = peek(token, PARCEL, Parcel)
        return Item(key[0], parcel.kind, parcel.id, token.decode(), path.parent, parcel.files)

    def received(self, key: Key, item: Item, receipt: str) -> None:
        """Verify the centre's receipt: a segment's is kept, anything else is deleted on it. `RecordError` if it is not for this."""
        said = read_receipt(receipt.encode(), load_authority(self._layout))
        if (said.id, said.kind, said.site, said.node, said.files) != (
            *(item.id, item.kind),
            *(self._node.site, self._node.id, item.files),
        ):
            raise RecordError("receipt: is for something else than was sent", "it stays and is offered again")
        with self._lock, _told(self._layout.uplink):
            if key[0] is Rank.JOURNAL:
                place(self._receipt_of(*key[1].split("/")), receipt.encode())
                self.look_through()
            else:
                self._delete(item.id)

    def gone(self, key: Key) -> bool:
        """Whether a diagnosis has given way to a newer one meanwhile."""
        return key[0] is not Rank.JOURNAL and not (self._outgoing / key[1] / "parcel.jws").exists()

    def pack_anew(self, key: Key) -> None:
        """The ingest refused a segment's parcel: it may have been signed with a certificate, or at a time, that was not good."""
        unit, first = key[1].split("/")
        with _told(self._journals):
            (self._journals / unit / f"{first}.parcel.jws").unlink(missing_ok=True)

    def _next_of(self, unit: str) -> Key | None:
        folder = self._layout.journal(unit)
        if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
            self.trouble = AccessError(
                f"upload: {folder}: may not be read", "its group is lykta-cli, and the uplink's user is in it"
            )
        closed = segments(folder)[:-1]
        return next(((Rank.JOURNAL, f"{unit}/{one.stem}") for one in closed if not self._receipt_of(unit, one.stem).exists()), None)

    def _packed(self, unit: str, first: str) -> bytes:
        """The signed parcel of a segment: packed once, so that each try announces the same."""
        path = self._journals / unit / f"{first}.parcel.jws"
        with _told(path):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                place(path, self.pack(self._layout.journal(unit) / f"{first}.jws", unit))
            return path.read_bytes()

    def pack(self, segment: Path, unit: str) -> bytes:
        """The signed parcel of a closed segment. The same segment gives the same id, also after this record of it was lost."""
        digest, first, last = hashlib.sha256(), b"", b""
        with segment.open("rb") as file:
            for line in file:
                digest.update(line)
                first, last = first or line, line
        begin, end = peek(first, ENTRY, Entry), peek(last, ENTRY, Entry)
        facts: dict[str, str | int] = {"unit": unit, "first": begin.number, "last": end.number}
        facts |= {"head": sha256_hex(last.rstrip(b"\n")), "previous": begin.previous}
        file_ = SealedFile(segment.name, segment.stat().st_size, digest.hexdigest())
        parcel = self._parcel(uuid7(begin.t, digest.digest()), "journal", self._now(), file_, facts)
        return sign(parcel, self._signer, PARCEL)

    def _parcel(
        self, parcel: str, kind: Literal["journal", "report", "diag"], now: datetime, file: SealedFile, facts: dict[str, str | int]
    ) -> Parcel:
        return Parcel(parcel, kind, self._node.site, self._node.id, "uplink", now, (file,), facts)

    def _receipt_of(self, unit: str, first: str) -> Path:
        return self._journals / unit / f"{first}.receipt.jws"

    def _kept(self) -> list[str]:
        """Reports and diagnoses that wait, oldest first."""
        return sorted(path.parent.name for path in self._outgoing.glob("*/parcel.jws"))

    def _make_room(self, kind: Sent) -> None:
        """Bounded, in number and so in bytes: the oldest diagnosis gives way, a report never does."""
        kept = self._kept()
        if len(kept) < _MOST_PARCELS:
            return
        for parcel in kept:
            if peek(_read(self._outgoing / parcel / "parcel.jws"), PARCEL, Parcel).kind == "diag":
                self._delete(parcel)
                self.dropped += 1
                return
        raise UsageError(f"{kind}: {len(kept)} reports wait already", "is the ingest reachable? `lykta status` says why not")

    def _delete(self, parcel: str) -> None:
        """The record first: what is left without one was never complete."""
        folder = self._outgoing / parcel
        (folder / "parcel.jws").unlink()
        shutil.rmtree(folder)
        sync_folder(self._outgoing)

    def _clear(self) -> None:
        """What a power cut left half made or half deleted."""
        for folder in self._outgoing.glob("*"):
            if not (folder / "parcel.jws").exists():
                shutil.rmtree(folder, ignore_errors=True)


def uuid7(t: datetime, random: bytes) -> str:
    """UUIDv7 (RFC 9562 section 5.7) of a moment and the first bits of `random`."""
    ms = max(0, round(t.timestamp() * 1000)) & (1 << 48) - 1
    bits = int.from_bytes(random[:10], "big")
    return str(UUID(int=ms << 80 | 0x7 << 76 | (bits >> 62 & 0xFFF) << 64 | 0b10 << 62 | bits & (1 << 62) - 1))


def _check(name: str, data: bytes) -> None:
    try:
        msgspec.convert(name, FileName)
    except msgspec.ValidationError as problem:
        raise UsageError(f"carry: name: {problem} (got {name!r})", "as report.json") from problem
    if name.endswith(".jws"):
        raise UsageError(f"carry: name: .jws is for signed records (got {name!r})", "as report.json")
    if not 0 < len(data) <= MOST_BYTES:
        raise UsageError(f"carry: data: 1 to {MOST_BYTES} bytes (got {len(data)})", "send less")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if isinstance(problem, StorageError):
            raise
        raise StorageError(f"upload: {path}: {problem.strerror}", "free space or check the disk") from problem


def _read(path: Path) -> bytes:
    with _told(path):
        return path.read_bytes()
