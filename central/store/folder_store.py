"""A store in a local folder. Nodes PUT parts to the ingest, which writes them here; file locks order several processes."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from central.store.port import Part, PartRange, Upload
from privacy.errors import RecordError, StorageError
from privacy.files import append, create, locked, make_folder, open_file, place, read, sync_folder
from privacy.folders import remove
from privacy.records.manifest import SealedFile

_BLOCK = 1 << 20
_LARGEST = 64 << 20
"""Most bytes of a file that is read into memory at once: records and journal segments."""
_TEMPORARY = itertools.count()
_ATTEMPTS = 20


class FolderStore:
    """A key is a path below the folder. A name that begins with a dot is a file still being written, and is not listed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming, self._locks = folder / "_incoming", folder / "_locks"
        for one in (self._incoming, self._locks):
            _make_folder(one)

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

    def first_bytes(self, key: str, most: int) -> bytes:
        with open_file(self.folder / key, f"store: {key[:200]}") as file:
            return file.read(most)

    def put(self, key: str, data: bytes) -> None:
        path = self.folder / key
        for _ in range(_ATTEMPTS):
            # Another process may remove the folder between the two calls, because it is empty.
            with suppress(FileNotFoundError):
                _make_folder(path.parent)
                return place(path, data)
        raise StorageError(f"store: {path}: its folder is removed again and again", "does another program delete in the store?")

    def put_marker(self, key: str) -> None:
        path = self.folder / key
        try:
            os.close(append(path))
        except FileNotFoundError:
            make_folder(path.parent)
            os.close(append(path))

    def remove_marker(self, key: str) -> None:
        (self.folder / key).unlink(missing_ok=True)

    def names(self, folder: str) -> Iterator[str]:
        for name, is_folder in _entries(self.folder / folder):
            if is_folder:
                yield from self.names(f"{folder}/{name}")
            else:
                yield f"{folder}/{name}"

    def folders(self, folder: str) -> list[str]:
        return [name for name, is_folder in _entries(self.folder / folder) if is_folder]

    def erase(self, key: str) -> int:
        path = self.folder / key
        count = sum(1 for _ in self.names(key)) if path.is_dir() else int(path.exists())
        if path.is_dir():
            if left := remove(path):
                raise StorageError(f"store: {path}: {left[0]}", "check the disk and the folder's rights")
        else:
            path.unlink(missing_ok=True)
        self._remove_empty_folders(path.parent)
        return count

    @contextmanager
    def lock(self, what: Literal["object", "node"], name: str) -> Iterator[None]:
        """Names share 256 lock files a kind, so that no lock file is left for each object; two names seldom share one."""
        with locked(self._locks, f"{what}-{hashlib.sha256(name.encode()).digest()[0]:02x}"):
            yield

    def parts(self, upload: Upload) -> list[Part]:
        return [
            span.part(f"/v1/objects/{upload.id}/parts/{span.file}/{span.number}", whole or self._part_path(upload, span).exists())
            for file in upload.files
            for whole in [(self.folder / upload.keys[file.name]).exists()]
            for span in upload.part_ranges(file)
        ]

    def part_sink(self, upload: Upload, span: PartRange) -> _PartFile:
        path = self._part_path(upload, span)
        make_folder(path.parent)
        return _PartFile(path)

    def join(self, upload: Upload) -> tuple[SealedFile, ...]:
        targets = {file.name: self.folder / upload.keys[file.name] for file in upload.files}
        for file in upload.files:
            target = targets[file.name]
            if not target.exists():
                _make_folder(target.parent)
                _concatenate([self._part_path(upload, span) for span in upload.part_ranges(file)], target)
        for folder in {target.parent for target in targets.values()}:
            sync_folder(folder)
        return tuple(_read_back(name, target) for name, target in targets.items())

    def discard(self, upload: Upload) -> None:
        remove(self._upload_folder(upload))

    def _upload_folder(self, upload: Upload) -> Path:
        """The node's name is part of the folder's: a node chooses ids itself, so two nodes may choose the same one."""
        return self._incoming / f"{upload.node.replace('/', '~')}~{upload.id}"

    def _part_path(self, upload: Upload, span: PartRange) -> Path:
        return self._upload_folder(upload) / f"{span.file}.{span.number:06}"

    def _remove_empty_folders(self, folder: Path) -> None:
        """Remove a folder and those above it as long as they are empty, then sync the first one that is not."""
        while folder != self.folder:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:  # not empty
                break
            folder = folder.parent
        with suppress(FileNotFoundError):  # removed by another process, which syncs the folder above
            sync_folder(folder)


class _PartFile:
    """A part, written under a temporary name of its own: a node that timed out may send the same part to another process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}-{next(_TEMPORARY)}")
        self._file = os.fdopen(create(self._part), "wb")
        self.write = self._file.write

    def keep(self, md5: str) -> None:  # noqa: ARG002 (used by the S3 store, which checks it again)
        self._file.flush()
        os.fsync(self._file.fileno())
        # The folder is not synced: a part that a power cut removes is sent again. `join` syncs before a receipt is given.
        self._part.replace(self._path)

    def drop(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def _concatenate(parts: list[Path], target: Path) -> None:
    if len(parts) == 1:
        parts[0].replace(target)
        return
    whole = target.with_name(f".{target.name}.part")
    whole.unlink(missing_ok=True)
    with os.fdopen(create(whole), "wb") as out:
        for part in parts:
            with open_file(part, part.name) as source:
                shutil.copyfileobj(source, out, _BLOCK)
        out.flush()
        os.fsync(out.fileno())
    whole.replace(target)
    for part in parts:
        part.unlink()


def _read_back(name: str, path: Path) -> SealedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return SealedFile(name, os.fstat(file.fileno()).st_size, digest)


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder, sorted, each with whether it is a folder; empty if there is no such folder; no temporary files."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, synced. Tried again if another process removes an empty one meanwhile."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            return make_folder(folder)
    raise StorageError(f"store: {folder}: is removed again and again", "does another program delete in the store?")
