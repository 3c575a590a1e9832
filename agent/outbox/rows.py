"""The rows of an outbox: counts, numbers, messages, and ranges of dropped numbers. Each function is part of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from agent.messages import Cause
from agent.outbox.schema import GONE, GREATEST, MESSAGES, META, DamagedError, number
from agent.outbox.topic_rank import rank_of
from agent.ranks import DROPS, Rank

VERSION = 2
"""Of the tables, in `PRAGMA user_version`."""


def tables(cursor: sqlite3.Cursor) -> bool:
    return cursor.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone() is not None


def upgrade(cursor: sqlite3.Cursor) -> None:
    """Make the tables; messages of lykta 0.1 (version 0) move into them."""
    old = cursor.execute("SELECT 1 FROM sqlite_schema WHERE name = 'messages'").fetchone()
    if old:
        cursor.execute("ALTER TABLE messages RENAME TO old")
    else:
        cursor.execute(META)
    cursor.execute(MESSAGES)
    cursor.execute(GONE)
    if old:
        rows = cursor.execute("SELECT seq, tail, retain, put_ms, expiry_s, CAST(payload AS BLOB) FROM old").fetchall()
        insert(cursor, [(rank_of(tail), seq, tail, *rest) for seq, tail, *rest in rows])
        cursor.execute("DROP TABLE old")
    cursor.execute(f"PRAGMA user_version = {VERSION}")


def recount(cursor: sqlite3.Cursor) -> None:
    """Count rows and bytes again: the limits are checked by these two counts."""
    text = "SELECT count(*), coalesce(sum(length(tail) + length(payload)), 0) FROM messages"
    for name, found in zip(("rows", "bytes"), cursor.execute(text).fetchone(), strict=True):
        if count(cursor, name) != found:
            cursor.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, found))


def numbers(cursor: sqlite3.Cursor, many: int) -> range:
    """The next numbers of this outbox's sequence; `DamagedError` if it is exhausted."""
    if count(cursor, "seq") > GREATEST - many:
        raise DamagedError("meta: seq: no number follows")
    last = add(cursor, "seq", many)
    return range(last - many + 1, last + 1)


def add(cursor: sqlite3.Cursor, name: str, number: int) -> int:
    """Add to a counter; its new value."""
    cursor.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value",
        (name, number),
    )
    return count(cursor, name)


def count(cursor: sqlite3.Cursor, name: str) -> int:
    row = cursor.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return number(row[0], f"meta: {name}") if row else 0


def insert(cursor: sqlite3.Cursor, rows: Sequence[tuple[Any, ...]]) -> None:
    cursor.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    add(cursor, "rows", len(rows))
    add(cursor, "bytes", sum(len(row[2]) + len(row[-1]) for row in rows))


class Gone(NamedTuple):
    """A deleted row. empty: its payload was empty, to clear a topic."""

    seq: int
    size: int
    empty: bool


def remove(cursor: sqlite3.Cursor, keys: Iterable[tuple[int, int]]) -> list[Gone]:
    """Delete rows; returns those that existed."""
    text = """DELETE FROM messages WHERE rank = ? AND seq = ?
        RETURNING seq, length(tail) + length(payload), length(payload) = 0"""
    found = [Gone(seq, size, bool(empty)) for key in keys for seq, size, empty in cursor.execute(text, key).fetchall()]
    if found:
        add(cursor, "rows", -len(found))
        add(cursor, "bytes", -sum(one.size for one in found))
    return found


def drop(cursor: sqlite3.Cursor, keys: Iterable[tuple[int, int]], cause: Cause) -> None:
    bury(cursor, [one.seq for one in remove(cursor, keys)], cause)


def bury(cursor: sqlite3.Cursor, seqs: Sequence[int], cause: Cause) -> None:
    """Store numbers for a tombstone, as ranges merged with adjacent ones of the same cause."""
    if not seqs:
        return
    for _, run in groupby(enumerate(sorted(seqs)), key=lambda pair: pair[1] - pair[0]):
        numbers = [seq for _, seq in run]
        first, last = numbers[0], numbers[-1]
        before = cursor.execute("DELETE FROM gone WHERE last = ? AND first = (SELECT max(first) FROM gone WHERE first < ?) "
                                "AND cause = ? RETURNING first", (first - 1, first, cause)).fetchone()  # fmt: skip
        after = cursor.execute("DELETE FROM gone WHERE first = ? AND cause = ? RETURNING last", (last + 1, cause)).fetchone()
        cursor.execute("INSERT INTO gone VALUES (?, ?, ?)", (before[0] if before else first, after[0] if after else last, cause))
    add(cursor, f"gone.{cause}", len(seqs))


def least(cursor: sqlite3.Cursor, rows: int, size: int) -> Iterator[tuple[Rank, int]]:
    """Keys of the messages to drop first, until `rows` rows and `size` bytes are free."""
    text = "SELECT seq, length(tail) + length(payload) FROM messages WHERE rank = ? ORDER BY seq"
    for rank in DROPS:
        for seq, length in cursor.execute(text, (rank,)):
            if rows <= 0 and size <= 0:
                return
            rows, size = rows - 1, size - length
            yield rank, seq
