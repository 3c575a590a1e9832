"""The journal of one unit as it is written: append-only, each line signed and chained to the one before it (R32). It contains no
pictures.

A line is a compact JWS of an `Entry`; `previous` is the SHA-256 of the line before, so that a removed or changed entry is detected.
The chain is stored in segments, `<number of the first entry>.jws`, one or more per day; closed segments are uploaded. Each unit
also records the heads of the other units' chains. A chain that was cut at its end, or rewritten with its own key, then contradicts
what the other units signed. Nothing here checks a signature: `privacy.records.chains` does.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from privacy.errors import RecordError, StorageError
from privacy.files import append, locked, make_folder, on_disk, open_file, read, sync_folder
from privacy.foreign import encodable, printable
from privacy.records.jws import Signer, peek, sha256_hex, sign

ENTRY = "lykta-journal"
HEADS = "heads"
DAMAGED = "journal_damaged"
"""Kind of the first entry after lines that cannot be read; its `previous` is the hash of the last of them as found."""
LONGEST = 1_000_000
"""Bytes after which a segment is closed before the end of its day."""
MOST_SEGMENT = 2 * LONGEST
"""Bytes of a segment that are read at most: a segment is closed after the entry that makes it longer than `LONGEST`."""
_NEWEST, _LONGEST_LINES = 8, 32_768
_SEGMENT = re.compile(r"[0-9]{1,15}\.jws")
_HEAD = re.compile(r"[0-9]{1,15}:([0-9a-f]{64})?")
_OF_A_TORN_ENTRY = re.compile(rb"[A-Za-z0-9_.-]*\0*")
WHOLE_ENTRY = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")
"""A complete line ends with an ES256 signature of 64 bytes."""
_LONGEST_FACT = 16_384
Fact = str | int | float | None


class Entry(Struct, frozen=True):
    """One line of the journal. facts: flat values, never a picture, never a coordinate of a person."""

    number: int
    unit: str
    t: datetime
    kind: str
    facts: dict[str, Fact]
    previous: str


class Head(Struct, frozen=True):
    """The state of a chain: its number of entries, and the hash of its last line ("" if it is empty)."""

    length: int
    sha256: str

    @classmethod
    def parse(cls, text: str) -> Head:
        """From its text form, "length:sha256"; `RecordError` otherwise."""
        length, _, digest = text.partition(":")
        if not _HEAD.fullmatch(text) or bool(int(length)) != bool(digest):
            raise RecordError(f"head: must be LENGTH:SHA256 (got {printable(text, 100)!r})", "`lykta journal verify` prints them")
        return cls(int(length), digest)

    def __str__(self) -> str:
        return f"{self.length}:{self.sha256}"


class _Damage(Struct, frozen=True):
    """A segment whose end cannot be read: its name, its size in bytes, and their SHA-256."""

    segment: str
    size: int
    sha256: str


class _Position(Struct, frozen=True):
    """Where the next entry is written: the segment, its size in bytes, the day of its last entry, and the chain's head.

    damage  damage that was found there and is not recorded in the journal yet
    """

    path: Path
    size: int
    day: str
    head: Head
    damage: _Damage | None = None


class Journal:
    """Appends to the newest segment in `folder`; every entry is on the disk when `append` returns.

    Several processes may append to one chain: each takes the lock and checks whether another has written.

    now   gives the time of an entry, UTC
    lazy  open the journal at the first entry, so that a faulty disk or a damaged journal does not prevent the start of a service
    """

    def __init__(self, folder: Path, unit: str, signer: Signer, now: Callable[[], datetime], *, lazy: bool = False) -> None:
        self._folder, self._unit, self._signer, self._now = folder, unit, signer, now
        self._at: _Position | None = None
        if not lazy:
            with self._locked():
                pass

    @property
    def head(self) -> Head:
        if self._at is None:
            with self._locked() as at:
                return at.head
        return self._at.head

    def append(self, kind: str, **facts: Fact) -> bytes:
        """Sign and store one entry and return its line; `StorageError` if the disk refuses it."""
        with self._locked() as found:
            at = self._after_damage(found)
            line, self._at = self._append(at, kind, facts)
            return line

    def begin_segment(self, kind: str, **facts: Fact) -> None:
        """The same, as the first entry of a new segment: the one before is closed."""
        with self._locked() as found:
            at = self._after_damage(found)
            fresh = at if not at.size else _Position(segment(self._folder, at.head.length), 0, "", at.head)
            _, self._at = self._append(fresh, kind, facts)

    def _after_damage(self, at: _Position) -> _Position:
        """The position after an entry about the damage that was found, if there was any."""
        return self._append(at, DAMAGED, asdict(at.damage))[1] if at.damage else at

    @contextmanager
    def _locked(self) -> Iterator[_Position]:
        """The position for the next entry, with the folder locked; `StorageError` if the disk refuses, or if the journal cannot be
        read."""
        with on_disk(f"journal: {self._at.path if self._at else self._folder}", "free space or repair the disk"):
            if self._at is None:
                make_folder(self._folder)
            with locked(self._folder):
                at = self._at = self._at if self._at and not self._grew(self._at) else _resumed(self._folder)
                yield at

    def _grew(self, at: _Position) -> bool:
        """Whether another process has written since, to this segment or to a later one."""
        return at.size != _size(at.path) or segments(self._folder)[-1:] not in ([], [at.path])

    def _append(self, at: _Position, kind: str, facts: dict[str, Fact]) -> tuple[bytes, _Position]:
        """Write one entry; returns its line and the next position."""
        now = self._now()
        entry = Entry(at.head.length, self._unit, now, kind, {name: _plain(fact) for name, fact in facts.items()}, at.head.sha256)
        line = sign(entry, self._signer, ENTRY)
        day = f"{now:%Y-%m-%d}"
        if at.size > LONGEST or (at.size and day != at.day):
            at = _Position(segment(self._folder, entry.number), 0, day, at.head)
        size = _write(at, line + b"\n")
        return line, _Position(at.path, size, day, Head(entry.number + 1, sha256_hex(line)))


def _plain(fact: Fact) -> Fact:
    """A fact that can be encoded: text is valid UTF-8 (file names may not be) and of limited length."""
    return encodable(fact[:_LONGEST_FACT]) if isinstance(fact, str) else fact


def _write(at: _Position, data: bytes) -> int:
    """Append to a segment and sync it; returns its new size."""
    descriptor = append(at.path)
    try:
        if os.write(descriptor, data) != len(data):
            raise StorageError(f"journal: {at.path}: no space for a complete entry", "free space or repair the disk", errno.ENOSPC)
        os.fsync(descriptor)
        if not at.size:
            sync_folder(at.path.parent)
    except OSError:
        # Remove the line: an incomplete one, or one that may not be on the disk, would join with the next one and break the chain.
        os.ftruncate(descriptor, at.size)
        raise
    finally:
        os.close(descriptor)
    return at.size + len(data)


def _resumed(folder: Path) -> _Position:
    """`_resume` for a writer. A journal that cannot be read raises `StorageError`, because the fault is the disk's and the writer
    tries again."""
    try:
        return _resume(folder)
    except RecordError as problem:
        raise StorageError(str(problem), problem.hint) from problem


def _resume(folder: Path, *, repair: bool = True) -> _Position:
    """The position for the next entry. repair: remove an entry that a power cut left incomplete; it was never acknowledged. All
    other bytes are kept as evidence."""
    found = segments(folder)
    path = found[-1] if found else segment(folder, 0)
    data = read_segment(path) if found else b""
    end = data.rfind(b"\n") + 1
    if repair and end != len(data):
        data = _mended(path, data, end)
        end = len(data)
    if not end and len(found) > 1:
        # Power was lost between the creation of the new segment and its first line.
        return _Position(path, 0, "", Head(int(path.stem), sha256_hex(lines_of(read_segment(found[-2]))[-1])))
    return _after(path, data[:end])


def _mended(path: Path, data: bytes, end: int) -> bytes:
    """Repair a segment without a line end at its end: remove the incomplete entry after `end`, or restore a damaged line end."""
    tail = data[end:]
    if _OF_A_TORN_ENTRY.fullmatch(tail) and not WHOLE_ENTRY.match(tail):
        os.truncate(path, end)
        return data[:end]
    _write(_Position(path, len(data), "", Head(0, "")), b"\n")
    return data + b"\n"


def _after(path: Path, data: bytes) -> _Position:
    """The position after the lines of a segment. If the last lines are damaged, it has a `_Damage`, which becomes an entry of its
    own; verification finds the damage."""
    lines = lines_of(data)
    number, last = int(path.stem) + len(lines), _entry(lines[-1]) if lines else None
    sha256 = sha256_hex(lines[-1]) if lines else ""
    if not lines or (last and last.number == number - 1):
        return _Position(path, len(data), f"{last.t:%Y-%m-%d}" if last else "", Head(number, sha256))
    # A lost line end reduces the number of lines: use the number of the last entry if it is plausible.
    if last and number <= last.number < number + len(lines):
        number = last.number + 1
    return _Position(path, len(data), "", Head(number, sha256), _Damage(path.name, len(data), sha256_hex(data)))


def _entry(line: bytes) -> Entry | None:
    """The entry of a line, unverified; None if the line is damaged."""
    try:
        return peek(line, ENTRY, Entry) if WHOLE_ENTRY.fullmatch(line) else None
    except RecordError:
        return None


def lines_of(data: bytes) -> list[bytes]:
    """The complete lines, ended by LF; the rest after the last LF is not one."""
    return data.split(b"\n")[:-1]


def last_line(folder: Path) -> str:
    """The last complete line of a chain, unverified; "" if there is none."""
    for path in reversed(segments(folder)):
        data = read_segment(path)
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        if lines:
            return lines[-1].decode("ascii", "ignore")
    return ""


def head_of(folder: Path) -> Head:
    """The present head of a chain, unverified; the journal is not changed."""
    return _resume(folder, repair=False).head


def newest(folder: Path, otherwise: datetime) -> datetime:
    """The latest time among the last entries of the newest `_NEWEST` segments, unverified; `otherwise` if there is none.

    Several segments are read because a boot without the time begins one in 1970. Not all are read because a clock that was once
    years ahead must not keep the camera closed for ever.
    """
    return max((_last_time(path) for path in segments(folder)[-_NEWEST:] if _size(path)), default=otherwise)


def _last_time(path: Path) -> datetime:
    with open_file(path, f"journal: {path}") as file:
        file.seek(max(0, _size(path) - _LONGEST_LINES))
        tail = file.read()
    for line in reversed(lines_of(tail)):
        if entry := _entry(line):
            return entry.t
    return datetime.min.replace(tzinfo=UTC)


def read_segment(path: Path) -> bytes:
    """The bytes of a segment, lines unverified; `RecordError` if they are more than `MOST_SEGMENT`, `OSError` of the disk."""
    return read(path, f"journal: {path}", most=MOST_SEGMENT)


def segments(folder: Path) -> list[Path]:
    """The segments of a chain, oldest first; all but the last are closed. Only regular files count: root and other units read
    here too, and must not follow a link or open a pipe.
    """
    try:
        with os.scandir(folder) as found:
            names = [one.name for one in found if _SEGMENT.fullmatch(one.name) and one.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [folder / name for name in sorted(names)]


def segment(folder: Path, first: int) -> Path:
    return folder / f"{first:010}.jws"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
