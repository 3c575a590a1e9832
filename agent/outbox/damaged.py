"""Damaged outbox files: detecting them, renaming them, and recovering their epoch and last number.

Works by descriptor in a folder that several users may write: a link, a FIFO, a file of gigabytes and thousands of names there
are refused, renamed or ignored, and block nothing.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from contextlib import closing, suppress
from pathlib import Path

from msgspec import Struct

from agent.outbox.schema import DamagedError, number
from drivers import sysd
from privacy.errors import LyktaError, StorageError
from privacy.folders import Folder

KEPT_ASIDE = 2
"""Corrupt files that are kept for analysis; older ones are deleted."""
LONGEST_FILE = 128 << 20
"""Limit of the database and of its log, each: three times their normal maximum."""
FILES = ("", "-wal", "-shm")
_MOST_REMOVED = 64
_EPOCH = re.compile(r"[0-9a-f]{32}")


class Lost(Struct, frozen=True):
    """Recovered from a file that was put aside: its epoch ("" if unreadable) and the last number given in it (0)."""

    epoch: str
    last: int


def identity(path: Path) -> tuple[int, int]:
    """Device and inode of the file at the path now; zeros if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def usable(path: Path) -> bool:
    """Whether there is a database that is not empty. `DamagedError` if one of its files is not a regular file, or too large."""
    sizes = [_size(path.with_name(path.name + ending)) for ending in FILES]
    return bool(sizes[0])


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    if stat.S_ISDIR(found.st_mode):
        raise StorageError(f"outbox: {path}: is a folder", "remove it")
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError(f"{path.name}: is no regular file")
    if found.st_size > LONGEST_FILE:
        raise DamagedError(f"{path.name}: at most {LONGEST_FILE} bytes (got {found.st_size})")
    return found.st_size


def last_lost(path: Path) -> Lost | None:
    """Epoch and last number of the newest file put aside; None if there is none."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        newest = _put_aside_before(Folder(folder), path.name)[-1:]
    finally:
        os.close(folder)
    return _salvage(path.with_name(newest[0])) if newest else None


def _salvage(path: Path) -> Lost:
    text = "SELECT (SELECT value FROM meta WHERE name = 'epoch'), (SELECT value FROM meta WHERE name = 'seq')"
    with suppress(sqlite3.Error, LyktaError, TypeError), closing(_read_only(path)) as database:
        epoch, last = database.execute(text).fetchone()
        if _EPOCH.fullmatch(epoch):
            return Lost(epoch, number(last, "seq"))
    return Lost("", 0)


def _read_only(path: Path) -> sqlite3.Connection:
    usable(path)
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0)
    database.execute("PRAGMA trusted_schema=OFF")
    return database


def put_aside(folder: int, path: Path, problem: Exception) -> None:
    """Rename a damaged database; it is never repaired by guessing. Its log is renamed too, so that SQLite still finds it.

    The database first: after a power cut in between, SQLite discards a log without its database together with the new, empty
    file; a database without its log would give the log's numbers again.
    """
    here, aside = Folder(folder), f"{path.name}.corrupt-{time.time_ns()}"
    for ending in FILES:
        with suppress(FileNotFoundError):
            here.rename(path.name + ending, aside + ending)
            _shorten(folder, aside + ending)
    for old in _put_aside_before(here, path.name)[:-KEPT_ASIDE][:_MOST_REMOVED]:
        for ending in FILES:
            here.remove(old + ending)
    sysd.log("outbox", "error", "database put aside, a new one begun", path=path.with_name(aside), problem=problem)


def _shorten(folder: int, name: str) -> None:
    """Truncate a file beyond the size limit: it would take the space that the new one needs."""
    with suppress(OSError):
        file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            if os.fstat(file).st_size > LONGEST_FILE:
                os.ftruncate(file, 0)
        finally:
            os.close(file)


def _put_aside_before(folder: Folder, name: str) -> list[str]:
    """Names of the databases put aside, oldest first."""
    form = re.compile(re.escape(name) + r"\.corrupt-([0-9]{1,20})")
    found = [(int(match[1]), match[0]) for match in map(form.fullmatch, folder.names()) if match]
    return [aside for _, aside in sorted(found)]
