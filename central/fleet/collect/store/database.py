"""Opens the collector's database, SQLite or PostgreSQL, brings its tables up to date, and says which failures may pass.

A transaction of SQLite begins with its write lock: two processes that read first and then write would refuse each other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, case, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, NoSuchModuleError, OperationalError

from privacy.errors import StorageError, UnreachableError, UsageError
from privacy.foreign import printable

_WAIT_S = 10
_POSTGRESQL = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_PASSING = (OperationalError, InterfaceError, InternalError)
_HINT = "for instance sqlite:////var/lib/lykta-central/collect.db or postgresql+psycopg://lykta@db.example.org/lykta"


def open_database(url: str, *, reading: bool = False) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql+psycopg://…`; `UsageError` for any other address. Opens no connection yet.

    reading  for who only reads: takes no lock of the writer's, and the database refuses a write
    """
    try:
        parsed = make_url(url)
        kind = parsed.drivername
        if kind not in ("sqlite", "postgresql+psycopg") or (kind == "sqlite" and parsed.database in (None, "", ":memory:")):
            raise UsageError("collect: --database: must be a file of SQLite or a server of PostgreSQL", _HINT)
        if kind == "sqlite":
            engine = create_engine(parsed, connect_args={"timeout": _WAIT_S})
            event.listen(engine, "connect", _prepare_reader if reading else _prepare_sqlite)
            event.listen(engine, "begin", _begin_reading if reading else _begin_sqlite)
            return engine
        options = {"options": "-c default_transaction_read_only=on"} if reading else {}
        return create_engine(parsed, connect_args={**_POSTGRESQL, **options}, pool_pre_ping=True, pool_size=4, max_overflow=2)
    except (ArgumentError, NoSuchModuleError, ValueError) as problem:
        raise UsageError("collect: --database: not an address of a database", _HINT) from problem


def may_pass(problem: BaseException) -> bool:
    """Whether the same statement may succeed later: the database is away, locked, full or shutting down."""
    return isinstance(problem, _PASSING) or (isinstance(problem, DBAPIError) and problem.connection_invalidated)


def reason_of(problem: BaseException) -> str:
    """The first line of what the database said, without the statement and its values."""
    cause = problem.orig if isinstance(problem, DBAPIError) and problem.orig else problem
    return printable((str(cause).strip() or type(cause).__name__).splitlines()[0], 200)


@contextmanager
def told_as_error(engine: Engine) -> Iterator[None]:
    """A database that cannot be used becomes an `UnreachableError` (PostgreSQL) or a `StorageError` (SQLite)."""
    try:
        yield
    except DBAPIError as problem:
        where = engine.url.render_as_string(hide_password=True)
        kind = StorageError if engine.dialect.name == "sqlite" else UnreachableError
        raise kind(f"database {where}: {reason_of(problem)}", "is it running, and may this user write to it?") from problem


def insert(connection: Connection | Engine, table: Any) -> Any:
    """An INSERT that can say `on_conflict_do_nothing` and `on_conflict_do_update`, which both databases have."""
    return (sqlite if _is_sqlite(connection.dialect) else postgresql).insert(table)


def greatest(one: Any, other: Any) -> Any:
    """The greater of two numbers, neither of them null, in SQL that both databases have."""
    return case((one > other, one), else_=other)


def _is_sqlite(dialect: Dialect) -> bool:
    return dialect.name == "sqlite"


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Write-ahead log, and each commit on the disk before it counts: only then is a message confirmed to the broker."""
    connection.isolation_level = None
    for line in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", f"busy_timeout = {_WAIT_S * 1000}"):
        connection.execute(f"PRAGMA {line}")


def _prepare_reader(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for line in ("query_only = ON", f"busy_timeout = {_WAIT_S * 1000}"):
        connection.execute(f"PRAGMA {line}")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def dispose(engine: Engine) -> None:
    """Close all connections; of a server that is away there is nothing to close."""
    with suppress(DBAPIError):
        engine.dispose()
