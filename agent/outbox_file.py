"""The outbox's SQLite file: opened, written and read by several processes, and put aside when it is corrupt, also while they run.

WAL and synchronous=FULL: what `write` returned survives a power cut. Every use holds a shared lock on the folder, and looks
whether the file is still the one that was opened: no message is written into a file that another process has put aside.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from drivers import sysd
from privacy.errors import StorageError
from privacy.files import make_folder, sync_folder

T = TypeVar("T")
Work = Callable[[sqlite3.Cursor], T]
KEPT_ASIDE = 2
"""Corrupt files that stay for whoever wants to look into them; older ones make room."""
_FILES = ("", "-wal", "-shm")
_BUSY_S = 5.0
_MODE = 0o660  # three services of three users share the file by its group
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# What a long transaction grew the log to is given back at the next checkpoint.
_LONGEST_LOG = 4 << 20


class Lost(Struct, frozen=True):
    """What a file that was put aside still tells: its epoch ("" if unreadable) and the last number given in it (0)."""

    epoch: str
    last: int


class _Damaged(sqlite3.DatabaseError):
    """Whole pages that contradict each other."""


class OutboxFile:
    """May be used from several threads and processes.

    begin  makes the tables or finds them, in the first transaction on a file; returns the epoch that stands in it
    """

    def __init__(self, path: Path, begin: Work[str]) -> None:
        self.path, self._begin = path, begin
        self._lock = threading.Lock()
        self._opened: tuple[int, int] | None = None
        make_folder(path.parent)
        self._folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        with _translated(path):
            self._open()

    def write(self, work: Work[T]) -> T:
        """One write transaction, whole or not at all; `StorageError` if the disk refused it."""
        return self._do(lambda: _transact(self._database, work))

    def look(self, work: Work[T]) -> T:
        """Read, all of it in one epoch."""
        return self._do(lambda: work(self._database.cursor()))

    def read(self, text: str, *values: int) -> list[tuple[Any, ...]]:
        return self.look(lambda cursor: cursor.execute(text, values).fetchall())

    @property
    def size(self) -> int:
        """Bytes of the file and its log on the disk."""
        total = 0
        for ending in _FILES:
            with suppress(FileNotFoundError):
                total += self.path.with_name(self.path.name + ending).stat().st_size
        return total

    def close(self) -> None:
        with self._lock:
            self._database.close()
            if self._folder >= 0:
                os.close(self._folder)
            self._folder = -1

    def _do(self, use: Callable[[], T]) -> T:
        with self._lock, _translated(self.path):
            if self._folder < 0:
                raise StorageError(f"outbox: {self.path}: is closed", "this service is stopping")
            try:
                return self._use(use)
            except sqlite3.DatabaseError as problem:
                if not _corrupt(problem):
                    raise
                self._replace(problem)
                return self._use(use)

    def _use(self, use: Callable[[], T]) -> T:
        while True:
            with self._locked(fcntl.LOCK_SH):
                if self._opened == _identity(self.path):
                    return use()
            self._open()

    def _open(self) -> None:
        """Connect, and check it all; a corrupt file makes place for a new one."""
        # One process at a time: after a power cut three start at once, on a file that may not be there yet.
        with self._locked(fcntl.LOCK_EX):
            try:
                self._connect()
            except sqlite3.DatabaseError as problem:
                if not _corrupt(problem):
                    raise
                _put_aside(self.path, problem)
                self._connect()
        try:
            self._check()
        except sqlite3.DatabaseError as problem:
            if not _corrupt(problem):
                raise
            self._replace(problem)

    def _check(self) -> None:
        with self._locked(fcntl.LOCK_SH):
            found = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise _Damaged(found)

    def _replace(self, problem: sqlite3.DatabaseError) -> None:
        """Put the corrupt file aside, unless another process was quicker: then its new one is ours too."""
        with self._locked(fcntl.LOCK_EX):
            if self._opened == _identity(self.path):
                self._database.close()
                _put_aside(self.path, problem)
            self._connect()

    def _connect(self) -> None:
        """Under the exclusive lock. Only a file that is wholly ready counts as opened."""
        self._opened = None
        opened = _make(self.path)
        database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            database.execute(f"PRAGMA journal_size_limit={_LONGEST_LOG}")
            epoch = _transact(database, self._begin)
        except BaseException:
            database.close()
            raise
        self._opened, self._database, self.epoch = opened, database, epoch

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        fcntl.flock(self._folder, how)
        try:
            yield
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)


def _transact(database: sqlite3.Connection, work: Work[T]) -> T:
    cursor = database.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        result = work(cursor)
        cursor.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back already where the disk was full.
        if database.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    return result


def last_lost(path: Path) -> Lost | None:
    """What the newest file put aside tells of itself; None if there is none."""
    newest = _put_aside_before(path)[-1:]
    return _salvage(newest[0]) if newest else None


def _salvage(path: Path) -> Lost:
    text = "SELECT (SELECT value FROM meta WHERE name = 'epoch'), (SELECT value FROM meta WHERE name = 'seq')"
    with suppress(sqlite3.Error, ValueError, TypeError), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        epoch, last = database.execute(text).fetchone()
        bytes.fromhex(epoch)
        return Lost(epoch, int(last))
    return Lost("", 0)


def _put_aside(path: Path, problem: sqlite3.DatabaseError) -> None:
    """Under another name, never repaired by guessing. Its log goes with it, so that SQLite still finds it.

    The file itself first: a log without its file, after a power cut in between, is thrown away by SQLite with the new, empty
    file; a file without its log would give the log's numbers again.
    """
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    for ending in _FILES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
    for old in _put_aside_before(path)[:-KEPT_ASIDE]:
        for part in old.parent.glob(f"{old.name}*"):
            part.unlink()
    sysd.log("outbox", "error", "database put aside, a new one begun", path=aside, problem=problem)


def _put_aside_before(path: Path) -> list[Path]:
    """Oldest first."""
    found = [part for part in path.parent.glob(f"{path.name}.corrupt-*") if part.suffix.rpartition("-")[2].isdecimal()]
    return sorted(found, key=lambda part: int(part.suffix.rpartition("-")[2]))


def _corrupt(problem: sqlite3.DatabaseError) -> bool:
    return isinstance(problem, _Damaged) or (getattr(problem, "sqlite_errorcode", 0) & 0xFF) in _CORRUPT


def _make(path: Path) -> tuple[int, int]:
    """See that there is a file which the other services may write too, whatever our umask; its identity."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
        path.chmod(_MODE)
        sync_folder(path.parent)
    except FileExistsError:
        pass
    except OSError as problem:
        raise StorageError(f"outbox: {path}: {problem.strerror}", "check the disk and the folder's rights") from problem
    return _identity(path)


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode of what stands at the path now; zeros if nothing does."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        raise StorageError(f"outbox: {path}: {problem}", "free space or check the disk; nothing stored before is lost") from problem
