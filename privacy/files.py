"""Files that are absent or complete, also after a power cut: temporary name, fsync, rename, fsync of the folder.

Modes are explicit, whatever the umask: nothing becomes readable because of who started the program.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from privacy.errors import AccessError, LyktaError, RecordError, StorageError
from privacy.foreign import LONGEST

PRIVATE, GROUP, PUBLIC = 0o600, 0o640, 0o644
"""Modes of files: for their owner alone, for the folder's group too, for everybody on the machine."""
CLOSED, OPEN = 0o700, 0o755
"""Modes of folders: for their owner alone, to be read by everybody on the machine; 0750 is the mode if none is named."""
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FREE_SPACE = "free space or check the disk"
_REMOVE = "remove what lies there"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def on_disk(what: object, hint: str = FREE_SPACE, *, denied: str = "") -> Iterator[None]:
    """Whatever the system refuses inside as `StorageError` with its number; an error of ours passes as it is.

    what    names the file or the act at the head of the error
    denied  the hint for who may not: then that is an `AccessError`
    """
    try:
        yield
    except LyktaError:
        raise
    except OSError as problem:
        if denied and isinstance(problem, PermissionError):
            raise AccessError(f"{what}: {problem.strerror}", denied) from problem
        raise StorageError(f"{what}: {problem.strerror or problem}", hint, problem.errno) from problem


def place(path: Path, data: bytes, *, mode: int = GROUP) -> None:
    """Put a whole file in place of whatever stood there; on the disk when this returns. Raises OSError.

    Nothing that lies there already is opened or followed: a link at either name is replaced, never written through.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place_in(folder, path.name, data, mode=mode)
    finally:
        os.close(folder)


def place_in(folder: int, name: str, data: bytes, *, mode: int = GROUP) -> None:
    """The same in an open folder."""
    _refuse_device(folder, name)
    part = f".{name}.part"
    with suppress(FileNotFoundError):
        os.unlink(part, dir_fd=folder)
    with os.fdopen(create_in(folder, part, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _refuse_device(folder: int, name: str) -> None:
    """A file must never take the place of /dev/null: as root that is the whole machine's."""
    with suppress(FileNotFoundError):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise FileExistsError(errno.EEXIST, "is a device, no file", name)


def read(path: Path, what: str, *, most: int = LONGEST) -> bytes:
    """A file's bytes; `RecordError` unless it is a regular file, no link, of at most `most` bytes. Raises OSError."""
    return _read(path, None, what, most)


def read_in(folder: int, name: str, what: str, *, most: int = LONGEST) -> bytes:
    """The same of a file in an open folder."""
    return _read(name, folder, what, most)


def read_own(path: Path, *, most: int = LONGEST) -> bytes:
    """A file's bytes in a folder where nobody else may make a link, so that a link leads where its owner wants. Raises OSError.

    Also for what is no regular file, on which a reader would wait for ever, and for what is longer than `most`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"is longer than {most} bytes", str(path))
    return data


def _read(name: Path | str, folder: int | None, what: str, most: int) -> bytes:
    with open_file(name, what, folder) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise RecordError(f"{what}: must be at most {most} bytes", _REMOVE)
    return data


def create(path: Path, mode: int = GROUP) -> int:
    """A descriptor of a new file, to write and to read; `FileExistsError` if anything has that name, a link too."""
    return create_in(None, str(path), mode)


def create_in(folder: int | None, name: str, mode: int = GROUP) -> int:
    """The same in an open folder."""
    descriptor = os.open(name, _CREATE, mode, dir_fd=folder)
    os.fchmod(descriptor, mode)
    return descriptor


def append(path: Path, mode: int = GROUP) -> int:
    """A descriptor that writes at a regular file's end, made if there is none; a link is none. Raises OSError."""
    with suppress(FileExistsError):
        descriptor = os.open(path, _APPEND | os.O_EXCL, mode)
        os.fchmod(descriptor, mode)
        return descriptor
    descriptor = os.open(path, _APPEND)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return descriptor


def open_file(name: Path | str, what: str, folder: int | None = None, *, write: bool = False) -> BinaryIO:
    """A file to read piece by piece, or to change in place; `RecordError` unless it is regular and no link. Raises OSError."""
    try:
        descriptor = os.open(name, OPEN_FILE | (os.O_RDWR if write else 0), dir_fd=folder)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENXIO):
            raise RecordError(f"{what}: must be a file, no link or socket", _REMOVE) from problem
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RecordError(f"{what}: must be a regular file", _REMOVE)
    return os.fdopen(descriptor, "r+b" if write else "rb")


def make_folder(folder: Path, mode: int = 0o750) -> None:
    """A folder and those above it that are missing, each as durable as what will lie in it. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode)
            if add := _withheld(path.stat(), mode):
                path.chmod(add)
        sync_folder(path.parent)


def make_folder_in(folder: int, name: str, mode: int = 0o750) -> None:
    """A folder of that name in an open one, durable; `FileExistsError` if anything has that name. Raises OSError."""
    os.mkdir(name, mode, dir_fd=folder)
    made = os.open(name, OPEN_FOLDER, dir_fd=folder)
    try:
        if add := _withheld(os.fstat(made), mode):
            os.fchmod(made, add)
    finally:
        os.close(made)
    os.fsync(folder)


def _withheld(made: os.stat_result, mode: int) -> int:
    """The mode to set where the umask took some of it; 0 where nothing is to be set.

    A new folder never has more than its mode. Setgid, which the folder above hands down, must stay: a service is not in that
    group and may not set it, and its unit forbids to try.
    """
    present = stat.S_IMODE(made.st_mode)
    return present | mode if mode & ~present else 0


def sync_folder(folder: Path) -> None:
    """Make names in a folder as durable as the files they name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path, name: str = ".lock", *, wait: bool = True) -> Iterator[None]:
    """One at a time, over threads and processes of one user. Raises OSError.

    The lock is a file for its owner alone: whoever may read the folder could hold a lock on the folder itself, for ever.
    wait   until the other one is done; else `BlockingIOError`
    """
    descriptor = _open_lock(folder, name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _open_lock(folder: Path, name: str) -> int:
    """The lock's descriptor. Where the disk takes no file the folder stands in: what is there can still be read, and deleted."""
    try:
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    except OSError as problem:
        if problem.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        return os.open(folder, OPEN_FOLDER)
    os.fchmod(descriptor, PRIVATE)
    return descriptor
