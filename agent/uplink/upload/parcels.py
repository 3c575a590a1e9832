"""Parcels: signed objects that the uplink sends beside clips: closed journal segments, once each; reports and diagnoses.

<uplink>/journal/<unit>/<first>.parcel.jws    packed; with <first>.receipt.jws the centre has it
<uplink>/journal/<unit>/<first>.aside         that segment is damaged, and why: it stays on the disk, and the next one is sent
<uplink>/outgoing/<id>/                       a report or a diagnosis; parcel.jws comes last, and the receipt deletes all
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Literal

import msgspec

from agent.runtime.config import Node
from agent.uplink.upload.parts import Item
from agent.uplink.upload.policy import Rank
from agent.uplink.upload.waiting_clips import Key
from privacy.errors import AccessError, DamageError, LyktaError, RecordError, UsageError
from privacy.files import make_folder, on_disk, place, read, sync_folder
from privacy.folders import remove
from privacy.ids import uuid7
from privacy.records.chains import check_undamaged
from privacy.records.journal import ENTRY, MOST_SEGMENT, Entry, segments
from privacy.records.jws import Signer, peek, sha256_hex, sign
from privacy.records.manifest import PARCEL, FileName, Parcel, SealedFile, read_receipt
from provisioning.identity import UNITS, load_authority
from provisioning.layout import Layout

Sent = Literal["report", "diag"]
MOST_BYTES = 190_000
"""Limit of one report or diagnosis: what fits into a request of the control socket in base64."""
_MOST_PARCELS = 20
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class Parcels:
    """`keep` may be called from another thread; all else is the uploader's."""

    def __init__(self, layout: Layout, node: Node, signer: Signer, now: Callable[[], datetime]) -> None:
        self._layout, self._node, self._signer, self._now = layout, node, signer, now
        self._journals = layout.uplink / "journal"
        self._outgoing = layout.uplink / "outgoing"
        self._lock = Lock()
        self._segments: list[Key] = []
        self.trouble: LyktaError | None = None
        """Error of a journal that exists and cannot be read."""
        self.dropped = 0
        """Diagnoses deleted for newer ones since the start."""
        self.aside: dict[str, int] = {}
        """Segments of each unit that were set aside, as of the last scan; the uplink's journal names them."""
        self._clear()

    @property
    def waiting(self) -> list[Key]:
        return [*((Rank.HANDED_IN, parcel) for parcel in self._kept()), *self._segments]

    def look_through(self) -> None:
        """Scan: of each unit the oldest closed segment that the centre does not have, as a chain is sent in order."""
        self.trouble = None
        self.aside = dict(Counter(path.parent.name for path in self._journals.glob("*/*.aside")))
        keys = [self._next_of(unit) for unit in UNITS]
        self._segments = sorted(key for key in keys if key)

    def keep(self, kind: Sent, name: str, data: bytes) -> str:
        """Store a report or a diagnosis for sending; returns its id. It is on the disk when this returns."""
        _check(name, data)
        with self._lock, _told(self._outgoing):
            self._make_room(kind)
            file = SealedFile(name, len(data), sha256_hex(data))
            now = self._now()
            parcel = self._parcel(uuid7(_ms(now)), kind, now, file, {})
            folder = self._outgoing / parcel.id
            make_folder(folder)
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
        """Whether the object was deleted meanwhile, for a newer diagnosis."""
        return key[0] is not Rank.JOURNAL and not (self._outgoing / key[1] / "parcel.jws").exists()

    def pack_anew(self, key: Key) -> None:
        """Delete a segment's parcel that the ingest refused: it may have been signed with an invalid certificate or time."""
        unit, first = key[1].split("/")
        with _told(self._journals):
            (self._journals / unit / f"{first}.parcel.jws").unlink(missing_ok=True)

    def damage(self, key: Key) -> str:
        """The damage of a segment; "" if there is none: it is then offered again."""
        unit, first = key[1].split("/")
        path = self._layout.journal(unit) / f"{first}.jws"
        try:
            with _told(path):
                check_undamaged(_segment(path, unit), unit, int(first))
        except DamageError as problem:
            return str(problem)
        return ""

    def set_aside(self, key: Key, reason: str) -> None:
        """Send the next segment of that unit. The damaged one stays on the disk, and is not sent again."""
        unit, first = key[1].split("/")
        path = self._journals / unit / f"{first}.aside"
        with self._lock, _told(path):
            make_folder(path.parent)
            place(path, reason.encode())
            self.look_through()

    def _next_of(self, unit: str) -> Key | None:
        folder = self._layout.journal(unit)
        if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
            self.trouble = AccessError(
                f"upload: {folder}: may not be read", "its group is lykta-cli, and the uplink's user is in it"
            )
        closed = segments(folder)[:-1]
        return next(((Rank.JOURNAL, f"{unit}/{one.stem}") for one in closed if not self._is_done(unit, one.stem)), None)

    def _is_done(self, unit: str, first: str) -> bool:
        return self._receipt_of(unit, first).exists() or (self._journals / unit / f"{first}.aside").exists()

    def _packed(self, unit: str, first: str) -> bytes:
        """The signed parcel of a segment: packed once, so that each try announces the same; again if either was damaged since."""
        path, segment = self._journals / unit / f"{first}.parcel.jws", self._layout.journal(unit) / f"{first}.jws"
        with _told(path):
            if not (path.exists() and _is_of(path, segment)):
                make_folder(path.parent)
                place(path, self.pack(segment, unit))
            return read(path, path.name)

    def pack(self, segment: Path, unit: str) -> bytes:
        """The signed parcel of a closed segment. The same segment gives the same id, also after this record of it was lost.

        Its name gives its place in the chain, also if lines are damaged; `DamageError` for an invalid name or no segment.
        """
        data = _segment(segment, unit)
        lines = data.removesuffix(b"\n").split(b"\n")
        begin, first, digest = _entry(lines[0]), int(segment.stem), hashlib.sha256(data)
        facts: dict[str, str | int] = {"unit": unit, "first": first, "last": first + len(lines) - 1}
        facts |= {"head": sha256_hex(lines[-1]), "previous": begin.previous if begin else ""}
        file_ = SealedFile(segment.name, len(data), digest.hexdigest())
        t = begin.t if begin else _NO_TIME
        parcel = self._parcel(uuid7(_ms(t), digest.digest()), "journal", self._now(), file_, facts)
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
        """Keep the number, and so the bytes, within the limit: the oldest diagnosis is deleted, never a report."""
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
        """The record first: a folder without one counts as incomplete."""
        folder = self._outgoing / parcel
        (folder / "parcel.jws").unlink()
        remove(folder)
        sync_folder(self._outgoing)

    def _clear(self) -> None:
        """Delete folders that a power cut left half written or half deleted."""
        for folder in self._outgoing.glob("*"):
            if not (folder / "parcel.jws").exists():
                remove(folder)


def _is_of(packed: Path, segment: Path) -> bool:
    """Whether a parcel can be read, and names a segment of that size."""
    try:
        return [file.size for file in peek(read(packed, packed.name), PARCEL, Parcel).files] == [segment.stat().st_size]
    except RecordError:
        return False


def _segment(path: Path, unit: str) -> bytes:
    """The bytes of a closed segment; `DamageError` if it is no segment, or the disk can no longer read it."""
    what = f"journal {unit}: {path.name}"
    try:
        data = read(path, what, most=MOST_SEGMENT)
    except RecordError as problem:
        raise DamageError(str(problem), problem.hint) from problem
    except OSError as problem:
        if problem.errno != errno.EIO:
            raise
        raise DamageError(f"{what}: {problem.strerror}", "the disk is failing") from problem
    if b"\n" not in data:
        raise DamageError(f"{what}: has no entry", "the disk may be failing")
    return data


def _entry(line: bytes) -> Entry | None:
    """The entry of a line, unverified; None if the line is damaged."""
    try:
        return peek(line, ENTRY, Entry)
    except RecordError:
        return None


def _ms(t: datetime) -> int:
    return round(t.timestamp() * 1000)


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
    with on_disk(f"upload: {path}"):
        yield


def _read(path: Path) -> bytes:
    with _told(path):
        return read(path, path.name)
