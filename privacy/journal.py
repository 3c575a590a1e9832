"""The journal of one unit: append-only, each line signed and chained to the one before it (R32). No pictures in it.

A line is a compact JWS of an `Entry`; `previous` is the SHA-256 of the line before, so that a cut or rewritten chain shows.
The chain lies in segments, `<number of the first entry>.jws`, closed by day: the centre takes closed ones. Each unit also
notes the heads of the others' chains, so that a chain cut at its end, or written anew by whoever has its key, disagrees
with what the others signed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from privacy.errors import RecordError, StorageError
from privacy.files import locked, make_folder, sync_folder
from privacy.records import AT_ISSUE, Authority, Signer, peek, sha256_hex, sign, verify_issued

ENTRY = "lykta-journal"
HEADS = "heads"
LONGEST = 1_000_000
"""Bytes after which a segment is closed before its day is over."""
_NEWEST, _LONGEST_LINES = 8, 32_768
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
    """Where a chain stands: how many entries it has, and the hash of the last line ("" of an empty one)."""

    length: int
    sha256: str

    @classmethod
    def parse(cls, text: str) -> Head:
        """From its text form, "length:sha256"; `RecordError` otherwise."""
        length, _, digest = text.partition(":")
        if not length.isdecimal() or len(digest) != (64 if int(length) else 0):
            raise RecordError(f"head: must be LENGTH:SHA256 (got {text!r})", "`lykta journal verify` prints them")
        return cls(int(length), digest)

    def __str__(self) -> str:
        return f"{self.length}:{self.sha256}"


class _At(Struct, frozen=True):
    """Where a writer goes on: the segment, its size in bytes, the day of its last entry, and the chain's head."""

    path: Path
    size: int
    day: str
    head: Head


class Journal:
    """Appends to the newest segment in `folder`; every entry is on the disk when `append` returns.

    Several processes may append to one chain: each takes the lock and looks for what the others wrote.
    """

    def __init__(self, folder: Path, unit: str, signer: Signer, now: Callable[[], datetime]) -> None:
        self._folder, self._unit, self._signer, self._now = folder, unit, signer, now
        make_folder(folder)
        with locked(folder):
            self._at = _resume(folder)

    @property
    def head(self) -> Head:
        return self._at.head

    def append(self, kind: str, **facts: Fact) -> bytes:
        """Sign and store one entry and return its line; `StorageError` if the disk refuses it."""
        try:
            with locked(self._folder):
                if self._grew():
                    self._at = _resume(self._folder)
                return self._append(kind, facts)
        except OSError as problem:
            if isinstance(problem, StorageError):
                raise
            raise StorageError(f"journal: {self._at.path}: {problem.strerror}", "free space or mend the disk") from problem

    def _grew(self) -> bool:
        """Whether another process has written since: to our segment, or to one after it."""
        return self._at.size != _size(self._at.path) or segments(self._folder)[-1:] not in ([], [self._at.path])

    def _append(self, kind: str, facts: dict[str, Fact]) -> bytes:
        now, at = self._now(), self._at
        entry = Entry(at.head.length, self._unit, now, kind, facts, at.head.sha256)
        line = sign(entry, self._signer, ENTRY)
        day = f"{now:%Y-%m-%d}"
        if at.size > LONGEST or (at.size and day != at.day):
            at = _At(segment(self._folder, entry.number), 0, day, at.head)
        size = _write(at, line + b"\n")
        self._at = _At(at.path, size, day, Head(entry.number + 1, sha256_hex(line)))
        return line


def _write(at: _At, data: bytes) -> int:
    """Append to a segment; its size afterwards."""
    descriptor = os.open(at.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        if os.write(descriptor, data) != len(data):
            raise StorageError(f"journal: {at.path}: no room for a whole entry", "free space or mend the disk")
        os.fsync(descriptor)
        if not at.size:
            sync_folder(at.path.parent)
    except OSError:
        # Half a line, or one of which nobody knows whether the disk has it, would join with the next one and break the chain.
        os.ftruncate(descriptor, at.size)
        raise
    finally:
        os.close(descriptor)
    return at.size + len(data)


def _resume(folder: Path, *, mend: bool = True) -> _At:
    """Where to go on; a last line torn by a power cut was never acknowledged and is cut off."""
    found = segments(folder)
    path = found[-1] if found else segment(folder, 0)
    data = path.read_bytes() if found else b""
    whole = data[: data.rfind(b"\n") + 1]
    if mend and len(whole) != len(data):
        os.truncate(path, len(whole))
    day, first, lines = "", int(path.stem), whole.splitlines()
    if lines:
        with suppress(RecordError):  # a damaged line, which `verify` finds; the next entry begins a segment
            day = f"{peek(lines[-1], ENTRY, Entry).t:%Y-%m-%d}"
    elif len(found) > 1:
        # The power went between the new segment's name and its first line.
        lines = found[-2].read_bytes().splitlines()
        first -= len(lines)
    return _At(path, len(whole), day, Head(first + len(lines), sha256_hex(lines[-1]) if lines else ""))


class Chain(Struct, frozen=True):
    """A verified chain or segment: its entries, and the hash of each one's line. first: number of the first entry."""

    unit: str
    first: int
    entries: tuple[Entry, ...]
    hashes: tuple[str, ...]

    @property
    def head(self) -> Head:
        return Head(self.first + len(self.hashes), self.hashes[-1] if self.hashes else "")


def read_heads(said: object) -> dict[str, Head]:
    """Heads by unit from what somebody sent; `RecordError` if it is anything else."""
    if not isinstance(said, dict) or not 0 < len(said) <= 8 or not all(re.fullmatch(r"[a-z]{1,16}", str(unit)) for unit in said):
        raise RecordError("heads: must name units and where their chains stand", 'for instance {"uplink": "LENGTH:SHA256"}')
    return {str(unit): Head.parse(str(text)) for unit, text in said.items()}


def head_of(folder: Path) -> Head:
    """Where somebody's chain stands now; nothing is verified, nothing changed."""
    return _resume(folder, mend=False).head


def newest(folder: Path, otherwise: datetime) -> datetime:
    """The latest time that the last entries of the newest segments bear, unverified; `otherwise` if there is none.

    Of several: a boot without the time begins a segment in 1970. Not of all: a clock that was wrong once, by years ahead, must
    not keep a node closed for ever.
    """
    return max((_last_time(path) for path in segments(folder)[-_NEWEST:] if _size(path)), default=otherwise)


def _last_time(path: Path) -> datetime:
    with path.open("rb") as file:
        file.seek(max(0, _size(path) - _LONGEST_LINES))
        tail = file.read()
    for line in reversed(tail[: tail.rfind(b"\n") + 1].splitlines()):
        with suppress(RecordError):  # torn or damaged, which `verify` finds
            return peek(line, ENTRY, Entry).t
    return datetime.min.replace(tzinfo=UTC)


def segments(folder: Path) -> list[Path]:
    """The segments of a chain, oldest first; all but the last are closed."""
    return sorted(path for path in folder.glob("*.jws") if path.stem.isdecimal())


def segment(folder: Path, first: int) -> Path:
    return folder / f"{first:010}.jws"


def verify_chain(folder: Path, unit: str, authority: Authority) -> Chain:
    """All entries of a chain, if none was changed, cut out or put in; otherwise `RecordError` with the entry's number."""
    chain = Chain(unit, 0, (), ())
    for path in segments(folder):
        part = verify_segment(path.read_bytes(), unit, authority, chain.head)
        if int(path.stem) != chain.head.length:
            raise RecordError(
                f"journal: {unit}: segment {path.name} does not begin at its number", "a segment was renamed or is missing"
            )
        chain = Chain(unit, 0, chain.entries + part.entries, chain.hashes + part.hashes)
    return chain


def verify_segment(data: bytes, unit: str, authority: Authority, after: Head) -> Chain:
    """The entries of one segment that follows `after`; otherwise `RecordError`. A torn last line is not part of it."""
    entries: list[Entry] = []
    hashes: list[str] = []
    head = after
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        # A node that lost the time writes what its clock says; the chain's order holds, so the certificate is judged at its begin.
        entry, _ = verify_issued(line, ENTRY, authority, unit, Entry, AT_ISSUE)
        if (entry.number, entry.previous, entry.unit) != (head.length, head.sha256, unit):
            raise RecordError(f"journal: {unit}: entry {head.length} does not follow the one before it", "the chain was changed")
        head = Head(entry.number + 1, sha256_hex(line))
        entries.append(entry)
        hashes.append(head.sha256)
    return Chain(unit, after.length, tuple(entries), tuple(hashes))


def cross_check(chains: Mapping[Any, Chain]) -> int:
    """Hold each chain, whole from its first entry, against the heads that the others noted; how many were held.

    `RecordError` where a chain ends before a head that was seen, or had another line there.
    """
    held = 0
    for witness in chains.values():
        for entry in witness.entries:
            if entry.kind == HEADS:
                for unit, text in entry.facts.items():
                    if unit in chains:
                        check_head(chains[unit], Head.parse(str(text)), f"{witness.unit} entry {entry.number}")
                        held += 1
    return held


def check_head(chain: Chain, seen: Head, witness: str) -> None:
    """`RecordError` if a chain, whole from its first entry, does not contain a head that somebody saw."""
    if seen.length > chain.head.length:
        raise RecordError(
            f"journal: {chain.unit}: ends after {chain.head.length} entries, {witness} saw {seen.length}", "its end was cut off"
        )
    if seen.length and chain.hashes[seen.length - 1] != seen.sha256:
        raise RecordError(
            f"journal: {chain.unit}: entry {seen.length - 1} is not the one that {witness} saw", "it was written anew"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
