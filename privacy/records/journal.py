"""The journal of one unit: append-only, each line signed and chained to the one before it (R32). It contains no pictures.

A line is a compact JWS of an `Entry`; `previous` is the SHA-256 of the line before, so that a removed or changed entry is detected.
The chain is stored in segments, `<number of the first entry>.jws`, one or more per day; closed segments are uploaded. Each unit
also records the heads of the other units' chains. A chain that was cut at its end, or rewritten with its own key, then contradicts
what the other units signed.
"""

from __future__ import annotations

import errno
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from privacy.errors import DamageError, RecordError, StorageError
from privacy.files import append, locked, make_folder, on_disk, open_file, read, sync_folder
from privacy.foreign import encodable, printable
from privacy.records.jws import AT_ISSUE, Authority, Signer, check_intact, peek, sha256_hex, sign, verify_issued

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
_UNIT = re.compile(r"[a-z]{1,16}")
_HEAD = re.compile(r"[0-9]{1,15}:([0-9a-f]{64})?")
_OF_A_TORN_ENTRY = re.compile(rb"[A-Za-z0-9_.-]*\0*")
_WHOLE_ENTRY = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")
"""A complete line ends with an ES256 signature of 64 bytes."""
_SAME_USER = {("retention", "camera")}
"""Pairs (witness, unit) that run as the same user, so that the witness reads the unit's journal itself."""
_DOTS = 2
_LONGEST_NOTE = 4096
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
            at = found
            if at.damage:
                _, at = self._append(at, DAMAGED, asdict(at.damage))
            line, self._at = self._append(at, kind, facts)
            return line

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


def _resume(folder: Path, *, mend: bool = True) -> _Position:
    """The position for the next entry. mend: remove an entry that a power cut left incomplete; it was never acknowledged. All other
    bytes are kept as evidence."""
    found = segments(folder)
    path = found[-1] if found else segment(folder, 0)
    data = _read(path) if found else b""
    end = data.rfind(b"\n") + 1
    if mend and end != len(data):
        data = _mended(path, data, end)
        end = len(data)
    if not end and len(found) > 1:
        # Power was lost between the creation of the new segment and its first line.
        return _Position(path, 0, "", Head(int(path.stem), sha256_hex(_lines(_read(found[-2]))[-1])))
    return _after(path, data[:end])


def _mended(path: Path, data: bytes, end: int) -> bytes:
    """Repair a segment without a line end at its end: remove the incomplete entry after `end`, or restore a damaged line end."""
    tail = data[end:]
    if _OF_A_TORN_ENTRY.fullmatch(tail) and not _WHOLE_ENTRY.match(tail):
        os.truncate(path, end)
        return data[:end]
    _write(_Position(path, len(data), "", Head(0, "")), b"\n")
    return data + b"\n"


def _after(path: Path, data: bytes) -> _Position:
    """The position after the lines of a segment. If the last lines are damaged, it has a `_Damage`, which becomes an entry of its
    own; verification finds the damage."""
    lines = _lines(data)
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
        return peek(line, ENTRY, Entry) if _WHOLE_ENTRY.fullmatch(line) else None
    except RecordError:
        return None


def _lines(data: bytes) -> list[bytes]:
    """The complete lines, ended by LF; the rest after the last LF is not one."""
    return data.split(b"\n")[:-1]


class Chain(Struct, frozen=True):
    """A verified chain or segment: its entries, the hash of each entry's line, and the signers.

    Complete, or with gaps (missing numbers) if the centre checks the rest of a damaged chain.

    first     number of the first entry
    signers   common names of the certificates: SITE/NODE, or the centre; the caller must check that there is one only
    """

    unit: str
    first: int
    entries: tuple[Entry, ...]
    hashes: tuple[str, ...]
    signers: frozenset[str] = frozenset()

    @property
    def head(self) -> Head:
        return Head(self.entries[-1].number + 1, self.hashes[-1]) if self.entries else Head(self.first, "")

    def hash_of(self, number: int) -> str:
        """SHA-256 of an entry's line; "" if it lies in a gap."""
        at = bisect_left(self.entries, number, key=lambda entry: entry.number)
        return self.hashes[at] if at < len(self.entries) and self.entries[at].number == number else ""


def read_heads(reported: object) -> dict[str, Head | str]:
    """Reported heads of other chains by unit: each is LENGTH:SHA256, or the last line itself. `RecordError` for anything else."""
    if not isinstance(reported, dict) or not 0 < len(reported) <= 8 or not all(_UNIT.fullmatch(str(unit)) for unit in reported):
        raise RecordError("heads: must have the head of each unit's chain", 'for example {"uplink": "LENGTH:SHA256"}')
    return {str(unit): _read_head(text) for unit, text in reported.items()}


def _read_head(text: object) -> Head | str:
    if isinstance(text, str) and text.count(".") == _DOTS and text.isascii() and len(text) <= _LONGEST_NOTE:
        return text
    return Head.parse(str(text))


def last_line(folder: Path) -> str:
    """The last complete line of a chain, unverified; "" if there is none."""
    for path in reversed(segments(folder)):
        data = _read(path)
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        if lines:
            return lines[-1].decode("ascii", "ignore")
    return ""


def head_of(folder: Path) -> Head:
    """The present head of a chain, unverified; the journal is not changed."""
    return _resume(folder, mend=False).head


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
    for line in reversed(_lines(tail)):
        if entry := _entry(line):
            return entry.t
    return datetime.min.replace(tzinfo=UTC)


def _read(path: Path) -> bytes:
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


def verify_chain(folder: Path, unit: str, authority: Authority) -> Chain:
    """All entries of a chain, if none was changed, removed or inserted; otherwise `RecordError` with the entry's number."""
    chain = Chain(unit, 0, (), ())
    for path in segments(folder):
        part = verify_segment(_read(path), unit, authority, chain.head)
        if int(path.stem) != chain.head.length:
            raise RecordError(
                f"journal: {unit}: segment {path.name} does not begin at its number", "a segment was renamed or is missing"
            )
        chain = Chain(unit, 0, chain.entries + part.entries, chain.hashes + part.hashes, chain.signers | part.signers)
    return chain


def verify_segment(data: bytes, unit: str, authority: Authority, after: Head) -> Chain:
    """The entries of one segment, if they follow `after`; otherwise `RecordError`. An incomplete last line is ignored."""
    entries: list[Entry] = []
    hashes: list[str] = []
    signers: set[str] = set()
    head = after
    for line in _lines(data):
        if not _WHOLE_ENTRY.fullmatch(line):
            raise RecordError(f"journal: {unit}: entry {head.length}: not a signed record", "it is damaged, or was changed")
        # The entry's time may be wrong if the node had lost the time, so the certificate is not checked against it. The order of
        # the chain is still proven.
        entry, party = verify_issued(line, ENTRY, authority, unit, Entry, AT_ISSUE)
        if (entry.number, entry.previous, entry.unit) != (head.length, head.sha256, unit):
            raise RecordError(f"journal: {unit}: entry {head.length} does not follow the one before it", "the chain was changed")
        head = Head(entry.number + 1, sha256_hex(line))
        entries.append(entry)
        hashes.append(head.sha256)
        signers.add(party.name)
    return Chain(unit, after.length, tuple(entries), tuple(hashes), frozenset(signers))


def check_undamaged(data: bytes, unit: str, first: int) -> None:
    """`DamageError` if a closed segment has lines that are not entries as they were signed. first: number of its first entry.

    It does not check who signed the segment, or whether it belongs to this chain.
    """
    lines = _lines(data)
    for number, line in enumerate(lines, first):
        try:
            if not _WHOLE_ENTRY.fullmatch(line):
                raise RecordError("not a signed record")
            check_intact(line, ENTRY, Entry)
        except RecordError as problem:
            raise DamageError(f"journal: {unit}: entry {number} is damaged: {problem}", "the disk may be failing") from problem
    if not lines or not data.endswith(b"\n"):
        raise DamageError(f"journal: {unit}: entry {first + len(lines)} is incomplete", "the disk may be failing")


class CrossCheck(Struct, frozen=True):
    """The result of comparing chains with each other.

    held     number of recorded heads that are in their chains
    claims   contradictions between what one unit recorded and the chain of another; no proof, because the recording unit may be the
             false one, so its name is included
    """

    held: int
    claims: tuple[str, ...]


def cross_check(chains: Mapping[Any, Chain], authority: Authority) -> CrossCheck:
    """Compare each chain, complete from its first entry, with the heads that the other chains recorded of it.

    `RecordError` if a contradiction is a proof: that unit itself signed the recorded line, or a unit of the same user read it.
    """
    held, claims = 0, []
    for witness in chains.values():
        for entry in witness.entries:
            for unit, text in entry.facts.items() if entry.kind == HEADS else ():
                if unit not in chains:
                    continue
                by = f"{witness.unit} entry {entry.number}"
                proof = False
                try:
                    head, proof = _noted(str(text), chains[unit], authority)
                    found = check_head(chains[unit], head, by)
                except RecordError as problem:
                    if proof or (witness.unit, unit) in _SAME_USER:
                        raise
                    claims.append(f"{by} claims: {problem}")
                else:
                    held += found
    return CrossCheck(held, tuple(claims))


def _noted(text: str, chain: Chain, authority: Authority) -> tuple[Head, bool]:
    """A recorded head, and whether the chain's own unit signed it, which is so if the record is that unit's line."""
    if text.count(".") != _DOTS:
        return Head.parse(text), False
    line = text.encode()
    entry, party = verify_issued(line, ENTRY, authority, chain.unit, Entry, AT_ISSUE)
    if entry.unit != chain.unit or chain.signers - {party.name}:
        raise RecordError(f"journal: {chain.unit}: the recorded line is signed by {party.name}", "it is of another node")
    return Head(entry.number + 1, sha256_hex(line)), True


def check_head(chain: Chain, seen: Head, witness: str) -> bool:
    """Whether a chain contains a recorded head; False if it lies in a gap; `RecordError` if the chain contradicts it.

    witness   who recorded the head, for the error
    """
    if seen.length > chain.head.length:
        raise RecordError(
            f"journal: {chain.unit}: ends after {chain.head.length} entries, {witness} saw {seen.length}", "its end was cut off"
        )
    stands = chain.hash_of(seen.length - 1) if seen.length else ""
    if stands and stands != seen.sha256:
        raise RecordError(f"journal: {chain.unit}: entry {seen.length - 1} is not the one that {witness} saw", "it was rewritten")
    return bool(stands) or not seen.length


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
