"""The outbox's SQLite file: opened, written and read by several processes, and replaced when it is corrupt, also while they run.

WAL and synchronous=FULL: what `write` returned survives a power cut. Every use holds a shared lock on the folder and checks
that the file is still the one that was opened: no message is written into a file that another process has put aside.

No caller waits for a lock longer than `LOCK_S`: any process that may open the folder could hold the lock for ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from agent.outbox.damaged import FILES, identity, put_aside, usable
from agent.outbox.schema import LONGEST_PAYLOAD, DamagedError, text
from privacy.errors import StorageError
from privacy.files import make_folder, on_disk, sync_folder

T = TypeVar("T")
Work = Callable[[sqlite3.Cursor], T]
LOCK_S = 4.0
"""Longest wait of a use for the folder's lock, and again for SQLite's."""
_REST_S = 4.0
"""After a timeout, uses are refused at once for this time: many threads of one service must not wait one after another."""
_POLL_S = 0.01
_ATTEMPTS = 5
SHARED = 0o660
"""Mode of the shared file: services of several users share it by its group."""
PRIVATE = 0o600
# Our statements fit our tables: if one fails, or a row is refused, the file was changed by another program.
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_ERROR}
_HELD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
# The next checkpoint truncates a log that a long transaction made large.
_LONGEST_LOG = 4 << 20
# The schema in the file is not trusted: it may call no function with side effects, and every cell's size is checked.
_PRAGMAS = ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL", f"journal_size_limit={_LONGEST_LOG}")


class _UnmadeError(sqlite3.DatabaseError):
    """There is no database yet."""


class _ChangedError(sqlite3.DatabaseError):
    """The tables were changed since they were checked."""


class OutboxFile:
    """May be used from several threads and processes.

    begin  makes or finds the tables and checks their content, in the first transaction on a file; returns its epoch
    mode   of the file
    now    open it now, and fail if that is not possible; else at the first use
    """

    def __init__(self, path: Path, begin: Work[str], mode: int = SHARED, *, now: bool = True) -> None:
        self.path, self.epoch, self._begin, self._mode = path, "", begin, mode
        self._lock = threading.Lock()
        self._opened: tuple[int, int] | None = None
        self._folder, self._schema, self._closed, self._rest_until = -1, -1, False, 0.0
        self._database = sqlite3.connect(":memory:")
        if now:
            self._do(lambda: None)

    def write(self, work: Work[T]) -> T:
        """One write transaction, whole or not at all; `StorageError` if the disk refused it."""
        return self._do(lambda: _transact(self._database, "IMMEDIATE", self._checked(work)))

    def look(self, work: Work[T]) -> T:
        """Read in one transaction, so that all of it is of one epoch."""
        return self._do(lambda: _transact(self._database, "DEFERRED", self._checked(work)))

    def read(self, statement: str, *values: int) -> list[tuple[Any, ...]]:
        return self.look(lambda cursor: cursor.execute(statement, values).fetchall())

    @property
    def size(self) -> int:
        """Bytes of the file and its log on the disk."""
        total = 0
        for ending in FILES:
            with suppress(FileNotFoundError):
                total += self.path.with_name(self.path.name + ending).lstat().st_size
        return total

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._database.close()
            if self._folder >= 0:
                os.close(self._folder)
            self._folder = -1

    def _checked(self, work: Work[T]) -> Work[T]:
        def checked(cursor: sqlite3.Cursor) -> T:
            if _schema_version(cursor) != self._schema:
                raise _ChangedError("schema: was changed")
            return work(cursor)

        return checked

    def _do(self, use: Callable[[], T]) -> T:
        with _translated(self.path), self._alone():
            try:
                return self._use(use)
            except sqlite3.DatabaseError as problem:
                if not _corrupt(problem):
                    raise
                self._replace(self._opened, problem)
                return self._use(use)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock: one thread at a time, and none for a while after a timeout."""
        if time.monotonic() < self._rest_until or not self._lock.acquire(timeout=2 * LOCK_S):
            raise _held(self.path)
        try:
            if self._closed:
                raise StorageError(f"outbox: {self.path}: is closed", "this service is stopping")
            yield
        except sqlite3.OperationalError as problem:
            if _code(problem) in _HELD:
                self._rest_until = time.monotonic() + _REST_S
            raise
        finally:
            self._lock.release()

    def _use(self, use: Callable[[], T]) -> T:
        for _ in range(_ATTEMPTS):
            self._enter_folder()
            with self._locked(fcntl.LOCK_SH):
                if self._opened is not None and self._opened == identity(self.path):
                    with suppress(_ChangedError):
                        return use()
            self._open()
        raise StorageError(f"outbox: {self.path}: is replaced again and again", "see who else writes into this folder")

    def _enter_folder(self) -> None:
        if self._folder < 0:
            make_folder(self.path.parent)
            self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _open(self) -> None:
        """Connect and check the whole file; a corrupt one is replaced by a new one."""
        self._opened, found = None, identity(self.path)
        try:
            with self._locked(fcntl.LOCK_SH):
                self._connect(make=False)
                self._check()
        except sqlite3.DatabaseError as problem:
            if not isinstance(problem, _UnmadeError) and not _corrupt(problem):
                raise
            self._replace(found, problem)

    def _check(self) -> None:
        found = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise DamagedError(found)

    def _replace(self, found: tuple[int, int] | None, problem: sqlite3.DatabaseError) -> None:
        """Put the corrupt file aside, unless another process did so first: then its new file is used.

        One process at a time: after a power cut several start at once, and the file may not exist yet.
        """
        with self._locked(fcntl.LOCK_EX):
            if not isinstance(problem, _UnmadeError) and found == identity(self.path):
                self._database.close()
                put_aside(self._folder, self.path, problem)
            try:
                self._connect(make=True)
            except sqlite3.DatabaseError as again:
                if not _corrupt(again):
                    raise
                put_aside(self._folder, self.path, again)
                self._connect(make=True)

    def _connect(self, *, make: bool) -> None:
        """Only a completely prepared file counts as opened. make: create it if missing, under the exclusive lock."""
        self._opened = None
        if not usable(self.path) and not make:
            raise _UnmadeError("not made yet")
        if make:
            _make(self.path, self._mode)
        opened = identity(self.path)
        database = sqlite3.connect(self.path, timeout=LOCK_S, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database, make=make)
            epoch = _transact(database, "IMMEDIATE", self._begin)
            schema = _schema_version(database.cursor())
        except BaseException:
            database.close()
            raise
        self._opened, self._database, self._schema, self.epoch = opened, database, schema, epoch

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        end = time.monotonic() + LOCK_S
        while not _flock(self._folder, how):
            if time.monotonic() > end:
                self._rest_until = time.monotonic() + _REST_S
                raise _held(self.path)
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)


def _prepare(database: sqlite3.Connection, *, make: bool) -> None:
    database.text_factory = text
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * LONGEST_PAYLOAD)
    for pragma in _PRAGMAS:
        database.execute(f"PRAGMA {pragma}")
    [mode] = database.execute("PRAGMA journal_mode=WAL" if make else "PRAGMA journal_mode").fetchone()
    if mode != "wal":
        raise _UnmadeError(f"journal_mode: must be wal (got {mode})")


def _schema_version(cursor: sqlite3.Cursor) -> int:
    return int(cursor.execute("PRAGMA schema_version").fetchone()[0])


def _flock(folder: int, how: int) -> bool:
    try:
        fcntl.flock(folder, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _transact(database: sqlite3.Connection, how: str, work: Work[T]) -> T:
    cursor = database.cursor()
    cursor.execute(f"BEGIN {how}")
    try:
        result = work(cursor)
        cursor.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back already if the disk was full.
        if database.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    return result


def _code(problem: sqlite3.Error) -> int:
    return int(getattr(problem, "sqlite_errorcode", 0)) & 0xFF


def _corrupt(problem: sqlite3.DatabaseError) -> bool:
    return isinstance(problem, DamagedError) or _code(problem) in _CORRUPT


def _make(path: Path, mode: int) -> None:
    """Make sure that the file exists with this mode, regardless of our umask."""
    with suppress(FileExistsError):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        os.fchmod(file, mode)
        os.close(file)
        sync_folder(path.parent)


def _held(path: Path) -> StorageError:
    return StorageError(f"outbox: {path}: is locked", "another process holds it: see `fuser` and `lslocks`")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        with on_disk(f"outbox: {path}", "check the disk and the folder's rights"):
            yield
    except sqlite3.Error as problem:
        full = errno.ENOSPC if _code(problem) == sqlite3.SQLITE_FULL else None
        hint = "free space or check the disk; nothing stored before is lost"
        raise StorageError(f"outbox: {path}: {problem}", hint, full) from problem
