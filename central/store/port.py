"""The centre's store: where everything stands in it, and what one must promise that keeps it.

A finished object has a receipt, which is put last; before that its files may be there and mean nothing. What is below a
name with an underscore is the store's own: no site is called so.

    <site>/<node>/<clip id>/            clip.age, masks.age, tail.age, manifest.jws, receipt.jws; or refused.jws and no file
    <site>/<node>/journal/<unit>/       <first>.jws with .parcel.jws and .receipt.jws; refused/: damaged, or did not follow
    <site>/<node>/report|diag/<id>/     the parcel's files, parcel.jws, receipt.jws
    <site>/<node>/orders/               <number>.jws and <number>.answer.jws
    <site>/<node>/deleted/<id>.jws      the entry of the centre's journal that says so
    _index/announced/<site>/<node>/     <id>.json: what is on its way or here; an object begins and ends with it
    _index/open/<site>/<node>/          <id>~<bytes>: it is announced and not complete
    _index/taken/<site>/<node>/         <day>~<id>~<bytes>: a journal, report or diagnosis that was announced on that day
    _index/deadlines/<minute>/          <site>~<node>~<id>: look at it in this minute
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Literal, Protocol, Self

from msgspec import Struct

from privacy.errors import RecordError, RequestRejectedError, SealError
from privacy.foreign import decode
from privacy.records.jws import peek
from privacy.records.manifest import PART, RECEIPT, Kind, Manifest, Parcel, Receipt, SealedFile

Record = Manifest | Parcel
ANNOUNCED, DEADLINES, OPEN, TAKEN = "_index/announced", "_index/deadlines", "_index/open", "_index/taken"
_LONGEST = 1 << 20
"""Bytes of an announcement: a record and the MD5 of each of its parts."""
RESERVED = frozenset({"manifest.jws", "parcel.jws", "receipt.jws", "refused.jws"})
"""Names below an object's folder that are ours: no file of a node may have them."""


class Part(Struct, frozen=True):
    """One piece of a sealed file: where it begins, its bytes, where to PUT it and with which headers, whether it is here."""

    file: str
    part: int
    offset: int
    size: int
    url: str
    done: bool
    headers: dict[str, str] = {}


@dataclass(frozen=True)
class Slice:
    """Which bytes of a file one part is; the first part is number 1."""

    file: str
    number: int
    offset: int
    size: int

    def part(self, url: str, done: bool) -> Part:
        return Part(self.file, self.number, self.offset, self.size, url, done)


@dataclass(frozen=True)
class Upload:
    """An object on its way: its id and whose ("site/node") it is, its files, the key of each, and the base64 MD5 of each of their
    parts where the node told it."""

    id: str
    node: str
    files: tuple[SealedFile, ...]
    keys: dict[str, str]
    md5: dict[str, tuple[str, ...]]

    def slices(self, file: SealedFile) -> list[Slice]:
        return [_slice(file, number) for number in range(1, part_count(file.size) + 1)]

    def slice(self, file: str, number: int) -> Slice | None:
        found = next((one for one in self.files if one.name == file), None)
        return _slice(found, number) if found and 1 <= number <= part_count(found.size) else None


def part_count(size: int) -> int:
    """Parts of a file; an empty one has one empty part."""
    return max(1, -(-size // PART))


def _slice(file: SealedFile, number: int) -> Slice:
    offset = (number - 1) * PART
    return Slice(file.name, number, offset, min(PART, file.size - offset))


class Announcement(Struct, frozen=True):
    """What is known of an object from its announcement to its deletion.

    manifest   the signed manifest or parcel
    due        when it is deleted if no order says otherwise; None for what stays
    """

    kind: Kind
    id: str
    manifest: str
    md5: dict[str, tuple[str, ...]]
    due: datetime | None


class Sink(Protocol):
    """Takes the bytes of one part."""

    def write(self, data: bytes, /) -> object: ...

    def keep(self, md5: str, /) -> None:
        """The part is here, whole; a later one of its number takes its place."""

    def drop(self) -> None:
        """Nothing is left of it. Also called after `keep`."""


class Store(Protocol):
    """Records and files by key. Several processes use one store at once; what a call returned from survives a power cut.

    Trouble that may pass is `UnreachableError` or `StorageError`; nothing is half done for those who look with `get`.
    """

    def get(self, key: str, /) -> bytes | None:
        """The newest bytes at a key, as a whole."""

    def head(self, key: str, most: int, /) -> bytes:
        """The first bytes of the file at a key, `most` of them or all, however long it is."""

    def put(self, key: str, data: bytes, /) -> None:
        """Absent or whole; takes the place of what was there. The same key is put by two at once only below `lock`."""

    def names(self, folder: str, /) -> Iterator[str]:
        """Keys below a folder, in order, and no more work than for those that are taken."""

    def folders(self, folder: str, /) -> list[str]:
        """Names of the folders in a folder, in order."""

    def hint(self, key: str, /) -> None:
        """An empty record that something is counted by; a power cut may take it or bring it back, so it costs no sync."""

    def unhint(self, key: str, /) -> None:
        """Take a hint away."""

    def erase(self, key: str, /) -> int:
        """Every version of what is at a key or below it; how many there were. Gone for good."""

    def lock(self, what: Literal["object", "node"], name: str, /) -> AbstractContextManager[None]:
        """One at a time, if the store can; else two do the same work with the same result. A node's inside an object's."""

    def parts(self, upload: Upload, /) -> list[Part]:
        """Every part, in order, with where it is to be sent; makes ready what that needs. All done if the files are whole."""

    def sink(self, upload: Upload, piece: Slice, /) -> Sink:
        """Where the centre itself may write a part."""

    def join(self, upload: Upload, /) -> tuple[SealedFile, ...]:
        """Put each file, of which all parts are done, together at its key, in their place; then what is read back from there."""

    def discard(self, upload: Upload, /) -> None:
        """Parts that are here and were not joined are gone for good, and addresses that were given for more are worth nothing."""


class Piece:
    """A part on its way into a store: kept only if size and MD5 are as they should be."""

    def __init__(self, sink: Sink, piece: Slice) -> None:
        self._sink, self._slice = sink, piece
        self._digest, self._size = hashlib.md5(usedforsecurity=False), 0

    def write(self, block: bytes) -> None:
        self._size += len(block)
        if self._size > self._slice.size:
            raise RequestRejectedError(
                413,
                f"part {self._slice.number}: longer than the {self._slice.size} bytes announced",
                "read the list of parts again",
            )
        self._digest.update(block)
        self._sink.write(block)

    def keep(self, md5: str) -> None:
        if self._size != self._slice.size or base64.b64encode(self._digest.digest()).decode() != md5:
            raise SealError(f"part {self._slice.number}: Content-MD5 or size differs from what arrived", "send this part again")
        self._sink.keep(md5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._sink.drop()


def owner(record: Record) -> str:
    return f"{record.site}/{record.node}"


def home(record: Record) -> str:
    """The folder of an object; of a journal segment the beginning of its keys."""
    if record.kind == "clip":
        return f"{owner(record)}/{record.id}"
    if isinstance(record, Parcel) and record.kind == "journal":
        return f"{owner(record)}/journal/{record.facts['unit']}/{int(record.facts['first']):010}"
    return f"{owner(record)}/{record.kind}/{record.id}"


def record_key(record: Record) -> str:
    name = "manifest.jws" if record.kind == "clip" else "parcel.jws"
    return f"{home(record)}.{name}" if record.kind == "journal" else f"{home(record)}/{name}"


def receipt_key(record: Record) -> str:
    return f"{home(record)}.receipt.jws" if record.kind == "journal" else f"{home(record)}/receipt.jws"


def upload_of(record: Record, md5: dict[str, tuple[str, ...]]) -> Upload:
    """A journal segment arrives beside its place, which it takes when it was seen to follow what stands there."""
    if isinstance(record, Parcel) and record.kind == "journal":
        keys = {file.name: f"{owner(record)}/journal/{record.facts['unit']}/arriving/{record.id}.jws" for file in record.files}
    else:
        keys = {file.name: f"{home(record)}/{file.name}" for file in record.files}
    return Upload(record.id, owner(record), record.files, keys, md5)


def announced_key(node: str, name: str) -> str:
    """`node` as site/node; `name` the object's id."""
    return f"{ANNOUNCED}/{node}/{name}.json"


def announced(store: Store, node: str, name: str) -> Announcement | None:
    """What is known of an object; `RequestRejectedError` if somebody else wrote there."""
    data = store.get(announced_key(node, name))
    try:
        return _announcement(data) if data is not None else None
    except RecordError as problem:
        raise RequestRejectedError(
            500, f"object {name}: what was announced cannot be read: {problem}", "the centre mends it"
        ) from problem


@lru_cache(128)
def _announcement(data: bytes) -> Announcement:
    """Read once for all the calls that one upload makes."""
    return decode(data, Announcement, "announcement", most=_LONGEST)


def open_key(node: str, record: Record) -> str:
    """The hint that stands for "announced and not complete"."""
    return f"{OPEN}/{node}/{record.id}~{sum(file.size for file in record.files)}"


def close(store: Store, node: str, name: str) -> None:
    """An object is complete or gone: it counts no longer."""
    for key in store.names(f"{OPEN}/{node}"):
        if key.startswith(f"{OPEN}/{node}/{name}~"):
            store.unhint(key)


def receipt_of(store: Store, record: Record) -> bytes | None:
    """The receipt of a finished object. A segment may have come in another parcel before; each parcel gets its own."""
    receipt = store.get(receipt_key(record))
    if receipt is not None and record.kind == "journal" and peek(receipt, RECEIPT, Receipt).id != record.id:
        return None
    return receipt


def refused_key(clip: Manifest) -> str:
    """The manifest of a clip whose files were not what it says, until its deadline."""
    return f"{home(clip)}/refused.jws"


def deleted_key(node: str, name: str) -> str:
    return f"{node}/deleted/{name}.jws"


def marker(due: datetime, node: str, name: str) -> str:
    """The key that stands for "look at this object in this minute"."""
    return f"{DEADLINES}/{minute(due)}/{node.replace('/', '~')}~{name}"


def marked(key: str) -> tuple[str, str, str] | None:
    """Minute, site/node and id of a marker; None of what is none."""
    found = re.fullmatch(rf"{DEADLINES}/(\d{{8}}T\d{{4}})/([a-z0-9-]+)~([a-z0-9-]+)~([a-z0-9-]+)", key)
    return (found[1], f"{found[2]}/{found[3]}", found[4]) if found else None


def minute(moment: datetime) -> str:
    """Sorts as time does, for a thousand years from any clock."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M}"
