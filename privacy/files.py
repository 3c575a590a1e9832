"""Writes files that are either absent or complete, also after a power cut: temporary name, fsync, rename, fsync of the folder.

Modes are set explicitly, independent of the umask, so that a file's readers do not depend on who started the program.
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
"""Modes of files: readable for the owner only, for the group too, for every user of the machine."""
CLOSED, OPEN = 0o700, 0o755
"""Modes of folders: accessible for the owner only, readable for every user of the machine. The default mode is 0750."""
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FREE_SPACE = "free space or check the disk"
_REMOVE = "remove it"
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
        # The file that was refused, where `what` names only the folder or the act.
        where = "" if problem.filename is None or str(problem.filename) in str(what) else f"{problem.filename}: "
        raise StorageError(f"{what}: {where}{problem.strerror or problem}", hint, problem.errno) from problem


def place(path: Path, data: bytes, *, mode: int = GROUP) -> None:
    """Write a file, replacing an existing one; it is on the disk when this returns. Raises OSError.

    Existing files at the final or the temporary name are not opened: a link there is replaced, its target is not changed.
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
    """`FileExistsError` if that name is a device: as root, `place` could otherwise replace /dev/null for the whole machine."""
    with suppress(FileNotFoundError):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise FileExistsError(errno.EEXIST, "is a device, not a file", name)


def read(path: Path, what: str, *, most: int = LONGEST) -> bytes:
    """A file's bytes; `RecordError` if it is a link, not a regular file, or longer than `most` bytes. Raises OSError.

    what   names the file in errors
    """
    return _read(path, None, what, most)


def read_in(folder: int, name: str, what: str, *, most: int = LONGEST) -> bytes:
    """The same of a file in an open folder."""
    return _read(name, folder, what, most)


def read_own(path: Path, *, most: int = LONGEST) -> bytes:
    """A file's bytes, following links: for folders in which only the owner can create a link.

    Raises OSError, also if it is not a regular file (reading a pipe would block for ever) or longer than `most` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
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
    """A descriptor of a new file for writing and reading; `FileExistsError` if the name exists, also as a link."""
    return create_in(None, str(path), mode)


def create_in(folder: int | None, name: str, mode: int = GROUP) -> int:
    """The same in an open folder."""
    descriptor = os.open(name, _CREATE, mode, dir_fd=folder)
    os.fchmod(descriptor, mode)
    return descriptor


def append(path: Path, mode: int = GROUP) -> int:
    """A descriptor that appends to a regular file, which is created if it is missing. Raises OSError, also for a link."""
    with suppress(FileExistsError):
        descriptor = os.open(path, _APPEND | os.O_EXCL, mode)
        os.fchmod(descriptor, mode)
        return descriptor
    descriptor = os.open(path, _APPEND)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return descriptor


def open_file(name: Path | str, what: str, folder: int | None = None, *, write: bool = False) -> BinaryIO:
    """An open file for reading, or for changes in place; `RecordError` if it is a link or not a regular file. Raises OSError."""
    try:
        descriptor = os.open(name, OPEN_FILE | (os.O_RDWR if write else 0), dir_fd=folder)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENXIO):
            raise RecordError(f"{what}: must be a file, not a link or socket", _REMOVE) from problem
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RecordError(f"{what}: must be a regular file", _REMOVE)
    return os.fdopen(descriptor, "r+b" if write else "rb")


def make_folder(folder: Path, mode: int = 0o750) -> None:
    """Create a folder and its missing parents, each synced to the disk. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode)
            if add := _withheld(path.stat(), mode):
                path.chmod(add)
        sync_folder(path.parent)


def make_folder_in(folder: int, name: str, mode: int = 0o750) -> None:
    """Create a folder in an open one, synced to the disk; `FileExistsError` if the name exists. Raises OSError."""
    os.mkdir(name, mode, dir_fd=folder)
    made = os.open(name, OPEN_FOLDER, dir_fd=folder)
    try:
        if add := _withheld(os.fstat(made), mode):
            os.fchmod(made, add)
    finally:
        os.close(made)
    os.fsync(folder)


def _withheld(made: os.stat_result, mode: int) -> int:
    """The mode to set on a new folder if the umask removed bits of it; 0 if nothing is to be set.

    Other bits are kept, because of setgid, which a folder inherits from its parent: a service is not in that group and could not
    set it again, and its unit forbids the attempt.
    """
    present = stat.S_IMODE(made.st_mode)
    return present | mode if mode & ~present else 0


def sync_folder(folder: Path) -> None:
    """Sync a folder to the disk, so that its names are as durable as the files. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def changed_mark(path: Path) -> tuple[int, int] | None:
    """Time of change (ns) and size: whoever keeps it sees when the file changed. None for one that is absent or out of reach."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


@contextmanager
def locked(folder: Path, name: str = ".lock", *, wait: bool = True) -> Iterator[None]:
    """A lock on a folder between threads and processes of one user. Raises OSError.

    The lock is a file that only its owner can open. A lock on the folder itself could be held for ever by any user who can read it.
    wait   wait for the lock; otherwise `BlockingIOError` if it is taken
    """
    descriptor = _open_lock(folder, name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _open_lock(folder: Path, name: str) -> int:
    """The lock's descriptor. If the disk is full or read-only, the folder is locked instead: its files can still be read and
    deleted."""
    try:
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    except OSError as problem:
        if problem.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        return os.open(folder, OPEN_FOLDER)
    os.fchmod(descriptor, PRIVATE)
    return descriptor
