"""File operations in folders of a user with fewer rights: by descriptor, so that no link is followed and no folder can be exchanged
during the work.

Trees are walked without recursion and with two open descriptors at any depth.
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
"""Names that are listed of one folder at most; the others are left for a later call."""
_NO_FOLDER = (errno.ELOOP, errno.ENOTDIR)


class Folder:
    """An open folder. Every name must be a single path component, otherwise `RecordError`. Methods raise OSError."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def names(self, most: int = MOST_NAMES) -> list[str]:
        """Up to `most` names, sorted."""
        with os.scandir(self.descriptor) as found:
            return sorted(entry.name for entry, _ in zip(found, range(most), strict=False))

    def read(self, name: str, what: str, *, most: int = LONGEST) -> bytes:
        """A regular file's bytes; `RecordError` if it is not a regular file, or longer than `most` bytes."""
        return read_in(self.descriptor, _single(name), what, most=most)

    def open(self, name: str, what: str) -> BinaryIO:
        """A regular file opened for reading; `RecordError` if it is not a regular file."""
        return open_file(_single(name), what, self.descriptor)

    def place(self, name: str, data: bytes, *, mode: int = GROUP) -> None:
        """Write a file atomically, as `files.place` does."""
        place_in(self.descriptor, _single(name), data, mode=mode)

    def create(self, name: str, mode: int = GROUP) -> int:
        """A descriptor of a new file; `FileExistsError` if the name exists."""
        return create_in(self.descriptor, _single(name), mode)

    def is_file(self, name: str) -> bool:
        """Whether the name is a regular file."""
        with suppress(FileNotFoundError):
            return stat.S_ISREG(self.facts(name).st_mode)
        return False

    def facts(self, name: str) -> os.stat_result:
        return os.stat(_single(name), dir_fd=self.descriptor, follow_symlinks=False)

    def rename(self, old: str, new: str) -> None:
        os.rename(_single(old), _single(new), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> list[str]:
        """Remove a file, link or folder with its content; returns what could not be removed. A missing name is no error."""
        return remove_tree(self.descriptor, _single(name))

    def make(self, name: str, mode: int = 0o750) -> None:
        """Create a folder if it is missing; it inherits setgid from this one."""
        with suppress(FileExistsError):
            make_folder_in(self.descriptor, _single(name), mode)

    @contextmanager
    def folder(self, name: str) -> Iterator[Folder]:
        """A folder in this one; `RecordError` if it is a link or not a folder."""
        descriptor = _open(_single(name), self.descriptor)
        try:
            yield Folder(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def opened(base: Path, *below: str) -> Iterator[Folder]:
    """The folder base/below, opened without following a link in `below`. base: a path that only its owner or root can change."""
    descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in below:
            upper, descriptor = descriptor, _open(_single(name), descriptor)
            os.close(upper)
        yield Folder(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> list[str]:
    """Remove a file, a link or a folder with its content; returns what could not be removed. A missing path is no error."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return remove_tree(folder, path.name)
    finally:
        os.close(folder)


def remove_tree(folder: int, name: str) -> list[str]:
    """The same for a name in an open folder."""
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
    """A folder on the current path of a walk: device and inode, its name, and the names still to visit."""

    identity: tuple[int, int]
    name: str
    names: list[str]


def walk(folder: int) -> Iterator[tuple[int, str, bool]]:
    """Everything below an open folder, deepest first, as (descriptor of its folder, name, whether it is a folder).

    The descriptor is valid until the next step. `StorageError` if a folder is moved away during the walk.
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
                    raise StorageError(f"{name}: was moved while its folder was read", "another program works there; try again")
                yield here, name, True
    finally:
        os.close(here)


def _level(folder: int, name: str) -> _Level:
    return _Level(_identity(folder), name, os.listdir(folder))


def _identity(folder: int) -> tuple[int, int]:
    facts = os.fstat(folder)
    return facts.st_dev, facts.st_ino


def _enter(folder: int, name: str) -> int | None:
    """A folder's descriptor; None for anything else, and for a folder that cannot be read: its removal then gives the error."""
    try:
        return os.open(name, OPEN_FOLDER, dir_fd=folder)
    except OSError:
        return None


def _open(name: str, folder: int) -> int:
    try:
        return os.open(name, OPEN_FOLDER, dir_fd=folder)
    except OSError as problem:
        if problem.errno in _NO_FOLDER:
            raise RecordError(f"{name}: must be a folder, not a link", "remove it") from problem
        raise


def _single(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise RecordError(f"name: must be one part of a path (got {name[:80]!r})", "give the name of a file in the folder")
    return name
