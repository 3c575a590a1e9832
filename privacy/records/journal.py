"""The journal of one unit: append-only, each line signed and chained to the one before it (R32). No pictures in it.

A line is a compact JWS of an `Entry`; `previous` is the SHA-256 of the line before, so that a cut or rewritten chain shows.
The chain lies in segments, `<number of the first entry>.jws`, closed by day: the centre takes closed ones. Each unit also
notes the heads of the others' chains, so that a chain cut at its end, or written anew by whoever has its key, disagrees
with what the others signed.
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
"""The first entry after lines that cannot be read: `previous` is the hash of the last of them as it was found."""
LONGEST = 1_000_000
"""Bytes after which a segment is closed before its day is over."""
MOST_SEGMENT = 2 * LONGEST
"""Bytes that are read of one: a segment is closed after the entry that makes it longer than `LONGEST`."""
_NEWEST, _LONGEST_LINES = 8, 32_768
_SEGMENT = re.compile(r"[0-9]{1,15}\.jws")
_HEAD = re.compile(r"[0-9]{1,15}:([0-9a-f]{64})?")
_OF_A_TORN_ENTRY = re.compile(rb"[A-Za-z0-9_.-]*\0*")
_WHOLE_ENTRY = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")
"""An ES256 signature has 64 bytes: what holds one was written whole."""
_SAME_USER = {("retention", "camera")}
"""Who noted it, and of whom: units of one user, the first of which reads the other's folder itself."""
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
    """Where a chain stands: how many entries it has, and the hash of the last line ("" of an empty one)."""

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
    """A segment whose end cannot be read, as it was found: name, bytes, and their SHA-256."""

    segment: str
    size: int
    sha256: str


class _At(Struct, frozen=True):
    """Where a writer goes on: the segment, its size in bytes, the day of its last entry, and the chain's head.

    damage  what was found there and is not in the journal yet
    """

    path: Path
    size: int
    day: str
    head: Head
    damage: _Damage | None = None


class Journal:
    """Appends to the newest segment in `folder`; every entry is on the disk when `append` returns.

    Several processes may append to one chain: each takes the lock and looks for what the others wrote.

    lazy  opened at the first entry: a disk that refuses it, or what is no journal, keeps nobody from starting
    """

    def __init__(self, folder: Path, unit: str, signer: Signer, now: Callable[[], datetime], *, lazy: bool = False) -> None:
        self._folder, self._unit, self._signer, self._now = folder, unit, signer, now
        self._at: _At | None = None
        if not lazy:
            with self._alone():
                pass

    @property
    def head(self) -> Head:
        if self._at is None:
            with self._alone() as at:
                return at.head
        return self._at.head

    def append(self, kind: str, **facts: Fact) -> bytes:
        """Sign and store one entry and return its line; `StorageError` if the disk refuses it."""
        with self._alone() as found:
            at = found
            if at.damage:
                _, at = self._append(at, DAMAGED, asdict(at.damage))
            line, self._at = self._append(at, kind, facts)
            return line

    @contextmanager
    def _alone(self) -> Iterator[_At]:
        """Where to go on, below the folder's lock; `StorageError` if the disk refuses, or if what lies there is no journal."""
        with on_disk(f"journal: {self._at.path if self._at else self._folder}", "free space or mend the disk"):
            if self._at is None:
                make_folder(self._folder)
            with locked(self._folder):
                at = self._at = self._at if self._at and not self._grew(self._at) else _resumed(self._folder)
                yield at

    def _grew(self, at: _At) -> bool:
        """Whether another process has written since: to our segment, or to one after it."""
        return at.size != _size(at.path) or segments(self._folder)[-1:] not in ([], [at.path])

    def _append(self, at: _At, kind: str, facts: dict[str, Fact]) -> tuple[bytes, _At]:
        """The line, and where to go on after it."""
        now = self._now()
        entry = Entry(at.head.length, self._unit, now, kind, {name: _plain(fact) for name, fact in facts.items()}, at.head.sha256)
        line = sign(entry, self._signer, ENTRY)
        day = f"{now:%Y-%m-%d}"
        if at.size > LONGEST or (at.size and day != at.day):
            at = _At(segment(self._folder, entry.number), 0, day, at.head)
        size = _write(at, line + b"\n")
        return line, _At(at.path, size, day, Head(entry.number + 1, sha256_hex(line)))


def _plain(fact: Fact) -> Fact:
    """A fact that can be signed and read again: names of files may be no UTF-8, and whoever is quoted may have said a lot."""
    return encodable(fact[:_LONGEST_FACT]) if isinstance(fact, str) else fact


def _write(at: _At, data: bytes) -> int:
    """Append to a segment; its size afterwards."""
    descriptor = append(at.path)
    try:
        if os.write(descriptor, data) != len(data):
            raise StorageError(f"journal: {at.path}: no room for a whole entry", "free space or mend the disk", errno.ENOSPC)
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


def _resumed(folder: Path) -> _At:
    """The same for a writer, which waits for the disk: what it cannot read there is a trouble of the disk, not of the entry."""
    try:
        return _resume(folder)
    except RecordError as problem:
        raise StorageError(str(problem), problem.hint) from problem


def _resume(folder: Path, *, mend: bool = True) -> _At:
    """Where to go on. An entry torn by a power cut was never acknowledged and is cut off; all other bytes stay, as evidence."""
    found = segments(folder)
    path = found[-1] if found else segment(folder, 0)
    data = _read(path) if found else b""
    end = data.rfind(b"\n") + 1
    if mend and end != len(data):
        data = _mended(path, data, end)
        end = len(data)
    if not end and len(found) > 1:
        # The power went between the new segment's name and its first line.
        return _At(path, 0, "", Head(int(path.stem), sha256_hex(_lines(_read(found[-2]))[-1])))
    return _after(path, data[:end])


def _mended(path: Path, data: bytes, end: int) -> bytes:
    """A segment that ends in no line end: without the torn entry after `end`, or with the line end that was damaged."""
    tail = data[end:]
    if _OF_A_TORN_ENTRY.fullmatch(tail) and not _WHOLE_ENTRY.match(tail):
        os.truncate(path, end)
        return data[:end]
    _write(_At(path, len(data), "", Head(0, "")), b"\n")
    return data + b"\n"


def _after(path: Path, data: bytes) -> _At:
    """Where to go on after the lines of a segment: in the next one if they are damaged at their end, which `verify` finds."""
    lines = _lines(data)
    number, last = int(path.stem) + len(lines), _entry(lines[-1]) if lines else None
    sha256 = sha256_hex(lines[-1]) if lines else ""
    if not lines or (last and last.number == number - 1):
        return _At(path, len(data), f"{last.t:%Y-%m-%d}" if last else "", Head(number, sha256))
    # A line end that was lost makes lines fewer: the last entry knows better, within reason.
    if last and number <= last.number < number + len(lines):
        number = last.number + 1
    return _At(path, len(data), "", Head(number, sha256), _Damage(path.name, len(data), sha256_hex(data)))


def _entry(line: bytes) -> Entry | None:
    """Unverified; None if the line is damaged."""
    try:
        return peek(line, ENTRY, Entry) if _WHOLE_ENTRY.fullmatch(line) else None
    except RecordError:
        return None


def _lines(data: bytes) -> list[bytes]:
    """What line ends (LF alone) end; what follows the last one is none."""
    return data.split(b"\n")[:-1]


class Chain(Struct, frozen=True):
    """A verified chain or segment: its entries, the hash of each one's line, and who signed them.

    Whole, or with gaps (numbers that no entry has) where the centre checks what a damaged segment left of one.

    first     number of the first entry
    signers   common names of the certificates: SITE/NODE, or the centre; more than one is for the caller to refuse
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


def read_heads(said: object) -> dict[str, Head | str]:
    """What somebody says of other chains, by unit: a head as LENGTH:SHA256, or the last line itself. `RecordError` for all else."""
    if not isinstance(said, dict) or not 0 < len(said) <= 8 or not all(re.fullmatch(r"[a-z]{1,16}", str(unit)) for unit in said):
        raise RecordError("heads: must name units and where their chains stand", 'for instance {"uplink": "LENGTH:SHA256"}')
    return {str(unit): _read_head(text) for unit, text in said.items()}


def _read_head(text: object) -> Head | str:
    if isinstance(text, str) and text.count(".") == _DOTS and text.isascii() and len(text) <= _LONGEST_NOTE:
        return text
    return Head.parse(str(text))


def last_line(folder: Path) -> str:
    """The last whole line of somebody's chain, signed by that unit; "" if there is none."""
    for path in reversed(segments(folder)):
        data = _read(path)
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        if lines:
            return lines[-1].decode("ascii", "ignore")
    return ""


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
    """The segments of a chain, oldest first; all but the last are closed. What is no regular file is none.

    Also root and the other units read here: a link or a pipe in a segment's place must lead nobody astray.
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
    """All entries of a chain, if none was changed, cut out or put in; otherwise `RecordError` with the entry's number."""
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
    """The entries of one segment that follows `after`; otherwise `RecordError`. A torn last line is not part of it."""
    entries: list[Entry] = []
    hashes: list[str] = []
    signers: set[str] = set()
    head = after
    for line in _lines(data):
        if not _WHOLE_ENTRY.fullmatch(line):
            raise RecordError(f"journal: {unit}: entry {head.length}: not a signed record", "it is damaged, or was changed")
        # A node that lost the time writes what its clock says; the chain's order holds, so the certificate is judged at its begin.
        entry, party = verify_issued(line, ENTRY, authority, unit, Entry, AT_ISSUE)
        if (entry.number, entry.previous, entry.unit) != (head.length, head.sha256, unit):
            raise RecordError(f"journal: {unit}: entry {head.length} does not follow the one before it", "the chain was changed")
        head = Head(entry.number + 1, sha256_hex(line))
        entries.append(entry)
        hashes.append(head.sha256)
        signers.add(party.name)
    return Chain(unit, after.length, tuple(entries), tuple(hashes), frozenset(signers))


def check_undamaged(data: bytes, unit: str, first: int) -> None:
    """`DamageError` if a closed segment, the first entry of which is `first`, is damaged: lines that are no entries as signed.

    Not whether it is true: a segment that somebody else signed, or of another chain, is not damaged.
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
        raise DamageError(f"journal: {unit}: entry {first + len(lines)} is torn", "the disk may be failing")


class Crossed(Struct, frozen=True):
    """held: how many noted heads were found in their chains. claims: what a unit noted of another that its chain contradicts.

    A claim proves nothing: it may be the one who noted it that lies. It is told, with the name of who claims it.
    """

    held: int
    claims: tuple[str, ...]


def cross_check(chains: Mapping[Any, Chain], authority: Authority) -> Crossed:
    """Hold each chain, whole from its first entry, against what the others noted of it.

    `RecordError` where the contradiction is a proof: the noted line is signed by that very unit, or one of the same user read it.
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
    return Crossed(held, tuple(claims))


def _noted(text: str, chain: Chain, authority: Authority) -> tuple[Head, bool]:
    """A head that somebody noted, and whether the unit signed it: then the note is that unit's own line."""
    if text.count(".") != _DOTS:
        return Head.parse(text), False
    line = text.encode()
    entry, party = verify_issued(line, ENTRY, authority, chain.unit, Entry, AT_ISSUE)
    if entry.unit != chain.unit or chain.signers - {party.name}:
        raise RecordError(f"journal: {chain.unit}: the noted line is {party.name}'s", "it is of another node")
    return Head(entry.number + 1, sha256_hex(line)), True


def check_head(chain: Chain, seen: Head, witness: str) -> bool:
    """Whether a chain contains a head that somebody saw: False if that lies in a gap; `RecordError` if it contradicts."""
    if seen.length > chain.head.length:
        raise RecordError(
            f"journal: {chain.unit}: ends after {chain.head.length} entries, {witness} saw {seen.length}", "its end was cut off"
        )
    stands = chain.hash_of(seen.length - 1) if seen.length else ""
    if stands and stands != seen.sha256:
        raise RecordError(
            f"journal: {chain.unit}: entry {seen.length - 1} is not the one that {witness} saw", "it was written anew"
        )
    return bool(stands) or not seen.length


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
