"""The centre's store: the layout of its keys, and what every implementation must guarantee.

An object is complete when its receipt is there, which is put last; files without a receipt have no meaning. Top folders that
begin with an underscore are the store's own; no site has such a name.

    <site>/<node>/<clip id>/            clip.age, masks.age, tail.age, manifest.jws, receipt.jws; or refused.jws and no file
    <site>/<node>/journal/<unit>/       <first>.jws with .parcel.jws and .receipt.jws; refused/: damaged, or not the continuation
    <site>/<node>/report|diag/<id>/     the parcel's files, parcel.jws, receipt.jws
    <site>/<node>/orders/               <number>.jws and <number>.answer.jws
    <site>/<node>/deleted/<id>.jws      the entry of the centre's journal about the deletion
    _index/announced/<site>/<node>/     <id>.json: an object from its announcement to its deletion
    _index/open/<site>/<node>/          <id>~<bytes>: an object that is announced and incomplete
    _index/taken/<site>/<node>/         <day>~<id>~<bytes>: a journal, report or diagnosis announced on that day
    _index/deadlines/<minute>/          <site>~<node>~<id>: check this object in this minute
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
from typing import Literal, Protocol, Self

from msgspec import Struct

from privacy.errors import RecordError, RequestRejectedError, SealError
from privacy.foreign import decode
from privacy.records.jws import peek
from privacy.records.manifest import (
    MANIFEST_FILE,
    PARCEL_FILE,
    PART,
    RECEIPT,
    RECEIPT_FILE,
    Kind,
    Manifest,
    Parcel,
    Receipt,
    SealedFile,
)

Record = Manifest | Parcel
ANNOUNCED, DEADLINES, OPEN, TAKEN = "_index/announced", "_index/deadlines", "_index/open", "_index/taken"
_LONGEST = 1 << 20
"""Most bytes of a stored announcement: a record and the MD5 of each of its parts."""
RESERVED = frozenset({MANIFEST_FILE, PARCEL_FILE, RECEIPT_FILE, "refused.jws"})
"""Names in an object's folder that the centre writes: no file of a node may have them."""


class Part(Struct, frozen=True):
    """One part of a sealed file as the node is told: number from 1, offset and size in bytes, URL and headers for the PUT, and
    whether it has arrived."""

    file: str
    part: int
    offset: int
    size: int
    url: str
    done: bool
    headers: dict[str, str] = {}


@dataclass(frozen=True)
class PartRange:
    """Which bytes of a file a part holds. number: from 1; offset, size: bytes."""

    file: str
    number: int
    offset: int
    size: int

    def part(self, url: str, done: bool) -> Part:
        return Part(self.file, self.number, self.offset, self.size, url, done)


@dataclass(frozen=True)
class Upload:
    """An object that is being uploaded.

    node   "site/node"
    keys   by file name: the key where the whole file will be
    md5    by file name: base64 MD5 of each part, if the node announced them
    """

    id: str
    node: str
    files: tuple[SealedFile, ...]
    keys: dict[str, str]
    md5: dict[str, tuple[str, ...]]

    def part_ranges(self, file: SealedFile) -> list[PartRange]:
        return [_part_range(file, number) for number in range(1, part_count(file.size) + 1)]

    def part_range(self, file: str, number: int) -> PartRange | None:
        found = next((one for one in self.files if one.name == file), None)
        return _part_range(found, number) if found and 1 <= number <= part_count(found.size) else None


def part_count(size: int) -> int:
    """How many parts a file of `size` bytes has; an empty file has one empty part."""
    return max(1, -(-size // PART))


def _part_range(file: SealedFile, number: int) -> PartRange:
    offset = (number - 1) * PART
    return PartRange(file.name, number, offset, min(PART, file.size - offset))


class Announcement(Struct, frozen=True):
    """What the store keeps about an object from its announcement to its deletion.

    manifest   the signed manifest or parcel
    due        when it is deleted, unless an order changes that; None if it is not deleted
    """

    kind: Kind
    id: str
    manifest: str
    md5: dict[str, tuple[str, ...]]
    due: datetime | None


class PartSink(Protocol):
    """Takes the bytes of one part."""

    def write(self, data: bytes, /) -> object: ...

    def keep(self, md5: str, /) -> None:
        """Make the written bytes the part; a part of the same number is replaced. md5: base64, checked by the S3 store."""

    def drop(self) -> None:
        """Remove temporary files. Always called, also after `keep`."""


class Store(Protocol):
    """Records and files by key. Several processes use one store at once. When a call has returned, its effect survives a power cut.

    `UnreachableError` or `StorageError` if trying again may help. `get` never sees a half-written value.
    """

    def get(self, key: str, /) -> bytes | None:
        """The newest bytes at a key, None if there are none."""

    def first_bytes(self, key: str, most: int, /) -> bytes:
        """The first `most` bytes of the file at a key, or all if it is shorter."""

    def put(self, key: str, data: bytes, /) -> None:
        """Write or replace a value, never in part. Two callers that may put the same key hold a `lock`."""

    def names(self, folder: str, /) -> Iterator[str]:
        """Keys below a folder, sorted; listed as they are consumed, so that a caller may stop early."""

    def folders(self, folder: str, /) -> list[str]:
        """Names of the folders in a folder, sorted."""

    def put_marker(self, key: str, /) -> None:
        """Put an empty value that is only counted. Not synced: a power cut may remove it or bring it back."""

    def remove_marker(self, key: str, /) -> None:
        """Remove a marker; not synced."""

    def erase(self, key: str, /) -> int:
        """Delete every version of the value at a key and of all keys below it; returns how many versions there were."""

    def lock(self, what: Literal["object", "node"], name: str, /) -> AbstractContextManager[None]:
        """Hold a lock, if the store has locks; without them every step gives the same result when two processes do it at once.

        Whoever needs both takes the object's lock first, then the node's.
        """

    def parts(self, upload: Upload, /) -> list[Part]:
        """Every part, in order, with its URL; begins the upload if needed. All are `done` once the files are joined."""

    def part_sink(self, upload: Upload, span: PartRange, /) -> PartSink:
        """For a part that arrives at the ingest itself."""

    def join(self, upload: Upload, /) -> tuple[SealedFile, ...]:
        """Join the parts of each file at its key; all parts must have arrived. Returns sizes and hashes as read back from there."""

    def discard(self, upload: Upload, /) -> None:
        """Delete the parts that were not joined; URLs given out for more parts become invalid."""


class PartWriter:
    """Receives a part and keeps it only if its size and MD5 are right. A context manager: leaving it without `keep` discards."""

    def __init__(self, sink: PartSink, span: PartRange) -> None:
        self._sink, self._span = sink, span
        self._digest, self._size = hashlib.md5(usedforsecurity=False), 0

    def write(self, block: bytes) -> None:
        self._size += len(block)
        if self._size > self._span.size:
            raise RequestRejectedError(
                413,
                f"part {self._span.number}: longer than the {self._span.size} bytes announced",
                "read the list of parts again",
            )
        self._digest.update(block)
        self._sink.write(block)

    def keep(self, md5: str) -> None:
        if self._size != self._span.size or base64.b64encode(self._digest.digest()).decode() != md5:
            raise SealError(f"part {self._span.number}: Content-MD5 or size differs from what arrived", "send this part again")
        self._sink.keep(md5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.drop()


def owner(record: Record) -> str:
    return f"{record.site}/{record.node}"


def object_prefix(record: Record) -> str:
    """The folder of an object's keys; for a journal segment, the common beginning of its keys."""
    if record.kind == "clip":
        return f"{owner(record)}/{record.id}"
    if isinstance(record, Parcel) and record.kind == "journal":
        return f"{owner(record)}/journal/{record.facts['unit']}/{int(record.facts['first']):010}"
    return f"{owner(record)}/{record.kind}/{record.id}"


def record_key(record: Record) -> str:
    name = MANIFEST_FILE if record.kind == "clip" else PARCEL_FILE
    return f"{object_prefix(record)}.{name}" if record.kind == "journal" else f"{object_prefix(record)}/{name}"


def receipt_key(record: Record) -> str:
    return f"{object_prefix(record)}.receipt.jws" if record.kind == "journal" else f"{object_prefix(record)}/receipt.jws"


def upload_of(record: Record, md5: dict[str, tuple[str, ...]]) -> Upload:
    """Where the files of a record go. A journal segment first goes to arriving/, and to its place once it was checked."""
    if isinstance(record, Parcel) and record.kind == "journal":
        keys = {file.name: f"{owner(record)}/journal/{record.facts['unit']}/arriving/{record.id}.jws" for file in record.files}
    else:
        keys = {file.name: f"{object_prefix(record)}/{file.name}" for file in record.files}
    return Upload(record.id, owner(record), record.files, keys, md5)


def announced_key(node: str, name: str) -> str:
    """node: "site/node"; name: the object's id."""
    return f"{ANNOUNCED}/{node}/{name}.json"


def read_announcement(store: Store, node: str, name: str) -> Announcement | None:
    """The announcement of an object, None if there is none; `RequestRejectedError` (500) if it cannot be read."""
    data = store.get(announced_key(node, name))
    try:
        return _announcement(data) if data is not None else None
    except RecordError as problem:
        raise RequestRejectedError(
            500, f"object {name}: its announcement cannot be read: {problem}", "the centre must repair its store"
        ) from problem


@lru_cache(128)
def _announcement(data: bytes) -> Announcement:
    """Cached: one upload reads the same announcement in every call."""
    return decode(data, Announcement, "announcement", most=_LONGEST)


def open_key(node: str, record: Record) -> str:
    """The marker of an object that is announced and incomplete."""
    return f"{OPEN}/{node}/{record.id}~{sum(file.size for file in record.files)}"


def remove_open_marker(store: Store, node: str, name: str) -> None:
    """For an object that is complete or deleted: it no longer counts as incomplete."""
    for key in store.names(f"{OPEN}/{node}"):
        if key.startswith(f"{OPEN}/{node}/{name}~"):
            store.remove_marker(key)


def receipt_of(store: Store, record: Record) -> bytes | None:
    """The receipt of a complete object, else None. A segment may have come in another parcel; each parcel has its own receipt."""
    receipt = store.get(receipt_key(record))
    if receipt is not None and record.kind == "journal" and peek(receipt, RECEIPT, Receipt).id != record.id:
        return None
    return receipt


def refused_key(clip: Manifest) -> str:
    """Where the manifest of a clip is kept until its deadline if its files were sealed to others than it names."""
    return f"{object_prefix(clip)}/refused.jws"


def deleted_key(node: str, name: str) -> str:
    return f"{node}/deleted/{name}.jws"


def deadline_key(due: datetime, node: str, name: str) -> str:
    """The key of the deadline entry: check this object in the minute of `due`."""
    return f"{DEADLINES}/{minute(due)}/{node.replace('/', '~')}~{name}"


def parse_deadline_key(key: str) -> tuple[str, str, str] | None:
    """Minute, "site/node" and id of a deadline entry; None if the key is not one."""
    found = re.fullmatch(rf"{DEADLINES}/(\d{{8}}T\d{{4}})/([a-z0-9-]+)~([a-z0-9-]+)~([a-z0-9-]+)", key)
    return (found[1], f"{found[2]}/{found[3]}", found[4]) if found else None


def minute(moment: datetime) -> str:
    """A moment as YYYYMMDDTHHMM in UTC, which sorts by time."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M}"
