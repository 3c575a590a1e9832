"""Parts of files for upload: read block by block, hashed once. A whole part is never in memory."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from msgspec import Struct

from agent.uplink.upload.policy import Rank
from privacy.errors import StorageError, UnreachableError
from privacy.files import on_disk
from privacy.folders import opened
from privacy.records.manifest import PART, Kind, SealedFile

BLOCK = 16 * 1024
"""Bytes read and sent at once: one TLS record."""
_MOST_REMEMBERED = 1000


class Item(Struct, frozen=True):
    """An object on this node, ready for upload: its signed record and the files that this names. rank: priority."""

    rank: Rank
    kind: Kind
    id: str
    token: str
    folder: Path
    files: tuple[SealedFile, ...]

    def file(self, name: str) -> Path:
        """Path of a file that the record names; `StorageError` for any other that the ingest asks for."""
        if name not in {file.name for file in self.files}:
            raise StorageError(f"{self.kind} {self.id}: has no file {name}", "is this an ingest of a version that fits?")
        return self.folder / name


def blocks(path: Path, offset: int, size: int) -> Iterator[bytes]:
    """`size` bytes from `offset`; `StorageError` if there are fewer, `RecordError` for a link or anything but a regular file."""
    left = size
    # The camera may delete a clip at any moment.
    with (
        on_disk(f"{path.parent.name}: {path.name}", "was it freed or expired?"),
        opened(path.parent.parent, path.parent.name) as folder,
        folder.open(path.name, path.name) as file,
    ):
        file.seek(offset)
        while left and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            yield block
    if left:
        raise StorageError(f"{path.parent.name}: {path.name}: is {left} bytes too short", "the file is damaged")


class Digests:
    """Content-MD5 of parts, in base64; each computed once while the object is uploaded. stop: aborts the computation."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._known: dict[tuple[Path, int, int], str] = {}

    def of(self, path: Path, offset: int, size: int) -> str:
        key = (path, offset, size)
        if key not in self._known:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            digest = hashlib.md5(usedforsecurity=False)
            for block in blocks(path, offset, size):
                if self._stop.is_set():
                    raise UnreachableError("upload: told to stop")
                digest.update(block)
            self._known[key] = base64.b64encode(digest.digest()).decode()
        return self._known[key]

    def of_all(self, item: Item) -> dict[str, list[str]]:
        """The MD5 of each part of each file, for the announcement."""
        return {
            file.name: [
                self.of(item.file(file.name), offset, min(PART, file.size - offset)) for offset in range(0, max(1, file.size), PART)
            ]
            for file in item.files
        }
