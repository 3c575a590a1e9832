"""Work in a folder of somebody with fewer rights: by descriptor, so that no link is followed and no folder is put in its place.

Trees are walked without recursion and with two open descriptors, however deep they are.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from privacy.errors import RecordError, StorageError
from privacy.files import GROUP, OPEN_FOLDER, create_in, make_folder_in, open_file, place_in, read_in
from privacy.foreign import LONGEST

MOST_NAMES = 10_000
"""Names that are looked at in one folder; what lies there beyond them waits for the next time."""
_NO_FOLDER = (errno.ELOOP, errno.ENOTDIR)


class Folder:
    """An open folder. Every name is one component; `RecordError` for any other. Methods raise OSError of the disk."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def names(self, most: int = MOST_NAMES) -> list[str]:
        """Up to `most` names, sorted."""
        with os.scandir(self.descriptor) as found:
            return sorted(entry.name for entry, _ in zip(found, range(most), strict=False))

    def read(self, name: str, what: str, *, most: int = LONGEST) -> bytes:
        """A regular file's bytes; `RecordError` for anything else, also for what is longer."""
        return read_in(self.descriptor, _single(name), what, most=most)

    def open(self, name: str, what: str) -> BinaryIO:
        """A regular file to read piece by piece; `RecordError` for anything else."""
        return open_file(_single(name), what, self.descriptor)

    def place(self, name: str, data: bytes, *, mode: int = GROUP) -> None:
        """Put a whole file there, as `files.place` does."""
        place_in(self.descriptor, _single(name), data, mode=mode)

    def create(self, name: str, mode: int = GROUP) -> int:
        """A descriptor of a new file; `FileExistsError` if anything has that name."""
        return create_in(self.descriptor, _single(name), mode)

    def is_file(self, name: str) -> bool:
        """Whether a regular file lies there."""
        with suppress(FileNotFoundError):
            return stat.S_ISREG(self.facts(name).st_mode)
        return False

    def facts(self, name: str) -> os.stat_result:
        return os.stat(_single(name), dir_fd=self.descriptor, follow_symlinks=False)

    def rename(self, old: str, new: str) -> None:
        os.rename(_single(old), _single(new), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> list[str]:
        """Remove a file, link or whole folder; what could not be removed. What is not there is removed."""
        return remove_tree(self.descriptor, _single(name))

    def make(self, name: str, mode: int = 0o750) -> None:
        """A folder of that name, if there is none; setgid of this one goes down to it."""
        with suppress(FileExistsError):
            make_folder_in(self.descriptor, _single(name), mode)

    @contextmanager
    def folder(self, name: str) -> Iterator[Folder]:
        """A folder in this one; `RecordError` if it is a link or no folder."""
        descriptor = _open(_single(name), self.descriptor)
        try:
            yield Folder(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def opened(base: Path, *below: str) -> Iterator[Folder]:
    """The folder `below`, each part of it opened without following a link. base: a path that only its owner or root can change."""
    descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in below:
            upper, descriptor = descriptor, _open(_single(name), descriptor)
            os.close(upper)
        yield Folder(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> list[str]:
    """Remove a file, a link or a whole folder; names of what could not be removed. What is not there is removed."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return remove_tree(folder, path.name)
    finally:
        os.close(folder)


def remove_tree(folder: int, name: str) -> list[str]:
    """Remove a file, a link or a whole folder from an open folder; names of what could not be removed."""
    left: list[str] = []
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return left
    except OSError as problem:
        if not _is_folder(folder, name):
            return [f"{name}: {problem.strerror}"]
        _try(lambda: _empty(folder, name, left), name, left)
        _try(lambda: os.rmdir(name, dir_fd=folder), name, left)
    return left


def _is_folder(folder: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _empty(folder: int, name: str, left: list[str]) -> None:
    with Folder(folder).folder(name) as tree:
        for at, inner, is_folder in walk(tree.descriptor):
            _try(lambda at=at, inner=inner, is_folder=is_folder: _remove(at, inner, is_folder), inner, left)  # type: ignore[misc]


def _remove(folder: int, name: str, is_folder: bool) -> None:
    if is_folder:
        os.rmdir(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def _try(act: Callable[[], None], name: str, left: list[str]) -> None:
    try:
        act()
    except FileNotFoundError:
        return
    except (OSError, RecordError) as problem:
        left.append(f"{name}: {getattr(problem, 'strerror', None) or problem}")


@dataclass(frozen=True)
class _Level:
    """A folder on the way down: which one it is, the name it was entered by, and the names still to visit."""

    identity: tuple[int, int]
    name: str
    names: list[str]


def walk(folder: int) -> Iterator[tuple[int, str, bool]]:
    """All below an open folder, the deepest first: the folder it lies in, its name, whether it is a folder.

    The descriptor is valid until the next step. `StorageError` if somebody moves a folder away while it is walked.
    """
    here = os.open(".", OPEN_FOLDER, dir_fd=folder)
    levels = [_level(here, "")]
    try:
        while True:
            if levels[-1].names:
                name = levels[-1].names.pop()
                inner = _enter(here, name)
                if inner is None:
                    yield here, name, False
                    continue
                os.close(here)
                here = inner
                levels.append(_level(here, name))
            elif len(levels) == 1:
                return
            else:
                name = levels.pop().name
                above = os.open("..", OPEN_FOLDER, dir_fd=here)
                os.close(here)
                here = above
                if _identity(here) != levels[-1].identity:
                    raise StorageError(f"{name}: was moved while its folder was walked", "somebody else works there; try again")
                yield here, name, True
    finally:
        os.close(here)


def _level(folder: int, name: str) -> _Level:
    return _Level(_identity(folder), name, os.listdir(folder))


def _identity(folder: int) -> tuple[int, int]:
    facts = os.fstat(folder)
    return facts.st_dev, facts.st_ino


def _enter(folder: int, name: str) -> int | None:
    """A folder's descriptor; None for anything else, and for one that may not be read, which its removal then tells."""
    try:
        return os.open(name, OPEN_FOLDER, dir_fd=folder)
    except OSError:
        return None


def _open(name: str, folder: int) -> int:
    try:
        return os.open(name, OPEN_FOLDER, dir_fd=folder)
    except OSError as problem:
        if problem.errno in _NO_FOLDER:
            raise RecordError(f"{name}: must be a folder, no link", "remove what lies there") from problem
        raise


def _single(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise RecordError(f"name: must be one part of a path (got {name[:80]!r})", "name a file of the folder")
    return name
