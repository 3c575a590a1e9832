"""What an outbox's database may contain: its tables, and numbers within limits. Everything else counts as damage.

The shared outbox is a file that several users may write. SQLite executes what is in it: a trigger, a view in a table's place, a
constraint that refuses every row, a number without successor. So the schema is checked before it is used, and again when it
changes.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from agent.ranks import Rank

GREATEST = 2**53 - 1
"""Limit of seq and every count: what JSON carries without loss. A number a millisecond would take 285,000 years."""
LONGEST_TAIL = 200
LONGEST_PAYLOAD = 1 << 20
META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID"
MESSAGES = """CREATE TABLE messages (
    rank INTEGER NOT NULL, seq INTEGER NOT NULL, tail TEXT NOT NULL, retain INTEGER NOT NULL, put_ms INTEGER NOT NULL,
    expiry_s INTEGER, payload BLOB NOT NULL, PRIMARY KEY (rank, seq)) WITHOUT ROWID"""
"""One tree in the order of sending, and no index beside it: each page that a transaction touches is written to the card."""
GONE = "CREATE TABLE gone (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, cause TEXT NOT NULL)"
_META_0_1 = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_MOST_META = 32
_EPOCH = re.compile(r"[0-9a-f]{1,64}")
_TAIL = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9_.-]+)*")
_NUMBER = re.compile(r"[0-9]{1,16}")


class DamagedError(sqlite3.DatabaseError):
    """The file is readable, but its content was not made by this program, or contradicts itself."""


def refuse_programs(cursor: sqlite3.Cursor) -> None:
    """Refuse triggers and views, in any version of the tables."""
    for (name,) in cursor.execute("SELECT name FROM sqlite_schema WHERE type NOT IN ('table', 'index') LIMIT 1"):
        raise DamagedError(f"schema: {_shown(name)} does not belong there")


def check_schema(cursor: sqlite3.Cursor) -> None:
    """Check that the tables are exactly as made: no other column, constraint, index, trigger, view or table."""
    known = {"meta": {_plain(META), _plain(_META_0_1)}, "messages": {_plain(MESSAGES)}, "gone": {_plain(GONE)}}
    found = cursor.execute("SELECT name, sql FROM sqlite_schema LIMIT 10").fetchall()
    for name, sql in found:
        if _plain(str(sql)) not in known.get(name, ()):
            raise DamagedError(f"schema: {_shown(name)} is not as it was made")
    missing = known.keys() - {name for name, _ in found}
    if missing:
        raise DamagedError(f"schema: no table {', '.join(sorted(missing))}")


def check_numbers(cursor: sqlite3.Cursor) -> None:
    """Check the epoch, the counts, and that every message has a valid rank and a number that was given."""
    meta = dict(cursor.execute("SELECT name, value FROM meta LIMIT ?", (_MOST_META,)).fetchall())
    if not _EPOCH.fullmatch(str(meta.pop("epoch", ""))):
        raise DamagedError("meta: epoch: none")
    counts = {name: number(value, f"meta: {_shown(name)}") for name, value in meta.items()}
    least, most, first, last = cursor.execute("SELECT min(rank), max(rank), min(seq), max(seq) FROM messages").fetchone()
    if least is not None and not (least in set(Rank) and most in set(Rank) and _given(first, last, counts)):
        raise DamagedError(f"messages: a rank or number that was never given (got {_shown(most)}, {_shown(last)})")


def _given(first: object, last: object, counts: dict[str, int]) -> bool:
    return isinstance(first, int) and isinstance(last, int) and 1 <= first <= last <= counts.get("seq", 0)


def number(value: object, what: str) -> int:
    """The value as a count from 0 to `GREATEST`; else `DamagedError`."""
    found = int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
    if isinstance(found, int) and 0 <= found <= GREATEST:
        return found
    raise DamagedError(f"{what}: must be a number from 0 to {GREATEST} (got {_shown(value)})")


def check_row(row: tuple[Any, ...]) -> None:
    """Check one message: types, limits, and a topic that is valid in MQTT."""
    rank, seq, tail, retain, put_ms, expiry_s, payload = row
    numbers = {"rank": rank, "seq": seq, "retain": retain, "put_ms": put_ms, "expiry_s": expiry_s or 0}
    for name, value in numbers.items():
        number(value, f"messages: {name}")
    if not isinstance(tail, str) or len(tail) > LONGEST_TAIL or not _TAIL.fullmatch(tail):
        raise DamagedError(f"messages: tail: no topic (got {_shown(tail)})")
    if not isinstance(payload, bytes) or len(payload) > LONGEST_PAYLOAD:
        raise DamagedError(f"messages: payload: must be bytes, at most {LONGEST_PAYLOAD}")


def text(data: bytes) -> str:
    """SQLite's text as Python's; invalid UTF-8 counts as damage, not as a fault of a statement."""
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise DamagedError("text that is no UTF-8") from problem


def _plain(sql: str) -> str:
    return " ".join(sql.replace("IF NOT EXISTS ", "").split())


def _shown(value: object) -> str:
    return repr(value)[:60]
