"""A store in a local folder. Parts are PUT to the ingest; several processes on this folder take turns by file locks."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from central.store.port import Part, Slice, Upload
from privacy.errors import RecordError, StorageError
from privacy.files import append, create, make_folder, open_file, place, read, sync_folder
from privacy.folders import remove
from privacy.records.manifest import SealedFile

_BLOCK = 1 << 20
_LARGEST = 64 << 20
"""Bytes of what is read as a whole: records, and segments of a journal."""
_TEMPORARY = itertools.count()
_ATTEMPTS = 20


class FolderStore:
    """A key is a path below the folder. What begins with a dot is not there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming, self._locks = folder / "_incoming", folder / "_locks"
        for one in (self._incoming, self._locks):
            _make(one)

    def get(self, key: str) -> bytes | None:
        path = self.folder / key
        try:
            return read(path, f"store: {key[:200]}", most=_LARGEST)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except RecordError:
            if path.is_dir():
                return None
            raise

    def head(self, key: str, most: int) -> bytes:
        with open_file(self.folder / key, f"store: {key[:200]}") as file:
            return file.read(most)

    def put(self, key: str, data: bytes) -> None:
        path = self.folder / key
        for _ in range(_ATTEMPTS):
            # Another process may take the folder away that has just become empty.
            with suppress(FileNotFoundError):
                _make(path.parent)
                return place(path, data)
        raise StorageError(f"store: {path}: its folder does not stay", "does something else delete in the store?")

    def hint(self, key: str) -> None:
        path = self.folder / key
        try:
            os.close(append(path))
        except FileNotFoundError:
            make_folder(path.parent)
            os.close(append(path))

    def unhint(self, key: str) -> None:
        (self.folder / key).unlink(missing_ok=True)

    def names(self, folder: str) -> Iterator[str]:
        for name, is_folder in _listed(self.folder / folder):
            if is_folder:
                yield from self.names(f"{folder}/{name}")
            else:
                yield f"{folder}/{name}"

    def folders(self, folder: str) -> list[str]:
        return [name for name, is_folder in _listed(self.folder / folder) if is_folder]

    def erase(self, key: str) -> int:
        path = self.folder / key
        count = sum(1 for _ in self.names(key)) if path.is_dir() else int(path.exists())
        if path.is_dir():
            if left := remove(path):
                raise StorageError(f"store: {path}: {left[0]}", "check the disk and the folder's rights")
        else:
            path.unlink(missing_ok=True)
        self._prune(path.parent)
        return count

    @contextmanager
    def lock(self, what: Literal["object", "node"], name: str) -> Iterator[None]:
        """256 locks of each sort are enough to be seldom in each other's way, and nothing is left behind for each object."""
        path = self._locks / f"{what}-{hashlib.sha256(name.encode()).digest()[0]:02x}"
        descriptor = append(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def parts(self, upload: Upload) -> list[Part]:
        return [
            piece.part(f"/v1/objects/{upload.id}/parts/{piece.file}/{piece.number}", whole or self._place(upload, piece).exists())
            for file in upload.files
            for whole in [(self.folder / upload.keys[file.name]).exists()]
            for piece in upload.slices(file)
        ]

    def sink(self, upload: Upload, piece: Slice) -> _PieceFile:
        path = self._place(upload, piece)
        make_folder(path.parent)
        return _PieceFile(path)

    def join(self, upload: Upload) -> tuple[SealedFile, ...]:
        targets = {file.name: self.folder / upload.keys[file.name] for file in upload.files}
        for file in upload.files:
            target = targets[file.name]
            if not target.exists():
                _make(target.parent)
                _join([self._place(upload, piece) for piece in upload.slices(file)], target)
        for folder in {target.parent for target in targets.values()}:
            sync_folder(folder)
        return tuple(_read_back(name, target) for name, target in targets.items())

    def discard(self, upload: Upload) -> None:
        remove(self._arriving(upload))

    def _arriving(self, upload: Upload) -> Path:
        """By the node too: an id is a node's own choice."""
        return self._incoming / f"{upload.node.replace('/', '~')}~{upload.id}"

    def _place(self, upload: Upload, piece: Slice) -> Path:
        return self._arriving(upload) / f"{piece.file}.{piece.number:06}"

    def _prune(self, folder: Path) -> None:
        """A folder is there while something is in it. The last one that stays carries the news to the disk."""
        while folder != self.folder:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:  # something is in it
                break
            folder = folder.parent
        with suppress(FileNotFoundError):  # emptied and taken away by another process, which syncs what is above
            sync_folder(folder)


class _PieceFile:
    """A part under a name of its own: a node that gave up waiting may send the same one again, to another process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}-{next(_TEMPORARY)}")
        self._file = os.fdopen(create(self._part), "wb")
        self.write = self._file.write

    def keep(self, md5: str) -> None:  # noqa: ARG002 (an object store checks it once more)
        self._file.flush()
        os.fsync(self._file.fileno())
        # The name is not synced: one that a power cut takes is a part sent again. `join` syncs what a receipt is given for.
        self._part.replace(self._path)

    def drop(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def _join(pieces: list[Path], target: Path) -> None:
    if len(pieces) == 1:
        pieces[0].replace(target)
        return
    whole = target.with_name(f".{target.name}.part")
    whole.unlink(missing_ok=True)
    with os.fdopen(create(whole), "wb") as out:
        for piece in pieces:
            with open_file(piece, piece.name) as source:
                shutil.copyfileobj(source, out, _BLOCK)
        out.flush()
        os.fsync(out.fileno())
    whole.replace(target)
    for piece in pieces:
        piece.unlink()


def _read_back(name: str, path: Path) -> SealedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return SealedFile(name, os.fstat(file.fileno()).st_size, digest)


def _listed(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder, in order, and whether each is a folder; a file is put before its folder's name would be."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make(folder: Path) -> None:
    """A folder whose name, and the names above it, are on the disk; another process may take away one that is empty."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            return make_folder(folder)
    raise StorageError(f"store: {folder}: does not stay", "does something else delete in the store?")
