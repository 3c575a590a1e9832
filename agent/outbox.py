"""The outbox: every message is on the disk before it counts as said, and leaves only when the broker has acknowledged it.

One SQLite file for the three services (WAL, synchronous=FULL: what `put` returned survives a power cut). seq is given in
the insert transaction and never reused; epoch names this database, so that a lost one shows. Bounded: beyond the bound the
oldest health goes first, then presence; help, alarms, clips and state are never dropped.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.messages import Body, Envelope, Health, Message, Presence, encode, retained, tail_of
from drivers import sysd
from drivers.clock import SystemClock
from privacy.errors import StorageError
from privacy.files import make_folder

T = TypeVar("T")
MOST_ROWS = 50_000
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY, tail TEXT NOT NULL, retain INTEGER NOT NULL, droppable INTEGER NOT NULL,
    put_ms INTEGER NOT NULL, expiry_s INTEGER, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS droppable ON messages (droppable DESC, seq) WHERE droppable > 0;
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message that has not been acknowledged. put_ms: wall clock, ms since 1970; an empty payload clears a topic."""

    seq: int
    tail: str
    retain: bool
    put_ms: int
    expiry_s: int | None
    payload: bytes


class Outbox:
    """May be used from several threads and processes."""

    def __init__(self, path: Path, site: str, node: str, clock: SystemClock, most: int = MOST_ROWS) -> None:
        self.path, self.site, self.node, self._clock, self._most = path, site, node, clock, most
        self._lock = threading.Lock()
        make_folder(path.parent)
        self._database = _open(path)
        self.epoch = self._once(self._first_epoch)

    def put(self, *bodies: Body, expiry_s: int | None = None) -> list[str]:
        """Store messages in one transaction; their ids. On the disk when this returns, else `StorageError`."""

        def insert(cursor: sqlite3.Cursor) -> list[str]:
            made = [self._envelope(seq) for seq in _next(cursor, len(bodies))]
            for envelope, body in zip(made, bodies, strict=True):
                payload = encode(Message(envelope, body))
                self._insert(cursor, envelope.seq, tail_of(body), retained(body), _droppable(body), expiry_s, payload)
            self._bound(cursor)
            return [envelope.id for envelope in made]

        return self._once(insert)

    def will(self, body: Body) -> bytes:
        """A message that the broker keeps and sends in our place: it has its number now, and never a row."""
        return encode(Message(self._envelope(self._once(lambda cursor: _next(cursor, 1)[0])), body))

    def clear(self, tail: str) -> None:
        """An empty retained message: what stood at this topic is over."""
        self._once(lambda cursor: self._insert(cursor, _next(cursor, 1)[0], tail, True, 0, None, b""))

    def take(self, after: int, limit: int) -> list[Waiting]:
        """Messages after a seq, oldest first."""
        rows = self._query("SELECT * FROM messages WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        return [Waiting(seq, tail, bool(retain), put, expiry, payload) for seq, tail, retain, _, put, expiry, payload in rows]

    def delete(self, seqs: Sequence[int]) -> None:
        """What the broker has acknowledged, or what expired here."""
        self._once(lambda cursor: cursor.executemany("DELETE FROM messages WHERE seq = ?", [(seq,) for seq in seqs]))

    def pending(self) -> int:
        return int(self._query("SELECT count(*) FROM messages", ())[0][0])

    def dropped(self) -> int:
        """Messages that did not fit, since this database was made."""
        rows = self._query("SELECT value FROM meta WHERE name = 'dropped'", ())
        return int(rows[0][0]) if rows else 0

    def version(self) -> int:
        """Changes when another connection has written: cheap to poll."""
        return int(self._query("PRAGMA data_version", ())[0][0])

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _envelope(self, seq: int) -> Envelope:
        clock = self._clock
        return Envelope(1, str(uuid.uuid4()), self.epoch, seq, clock.now(), clock.mono_ms(), clock.boot_id, clock.state(), False)

    def _insert(
        self, cursor: sqlite3.Cursor, seq: int, tail: str, retain: bool, droppable: int, expiry_s: int | None, payload: bytes
    ) -> None:
        put_ms = round(self._clock.now().timestamp() * 1000)
        cursor.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", (seq, tail, retain, droppable, put_ms, expiry_s, payload)
        )

    def _bound(self, cursor: sqlite3.Cursor) -> None:
        over = int(cursor.execute("SELECT count(*) FROM messages").fetchone()[0]) - self._most
        if over > 0:
            least = "SELECT seq FROM messages WHERE droppable > 0 ORDER BY droppable DESC, seq LIMIT ?"
            cursor.execute(f"DELETE FROM messages WHERE seq IN ({least})", (over,))
            _add(cursor, "dropped", cursor.rowcount)

    def _first_epoch(self, cursor: sqlite3.Cursor) -> str:
        cursor.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (uuid.uuid4().hex,))
        return str(cursor.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()[0])

    def _once(self, work: Callable[[sqlite3.Cursor], T]) -> T:
        """One write transaction, whole or not at all."""
        with self._lock, _translated(self.path):
            cursor = self._database.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                result = work(cursor)
                cursor.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back already where the disk was full.
                if self._database.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
            return result

    def _query(self, text: str, values: tuple[int, ...]) -> list[tuple[int, str, int, int, int, int | None, bytes]]:
        with self._lock, _translated(self.path):
            return self._database.execute(text, values).fetchall()


def _droppable(body: Body) -> int:
    return 2 if isinstance(body, Health) else 1 if isinstance(body, Presence) else 0


def _next(cursor: sqlite3.Cursor, count: int) -> range:
    """The next numbers of the node's one sequence."""
    last = _add(cursor, "seq", count)
    return range(last - count + 1, last + 1)


def _add(cursor: sqlite3.Cursor, name: str, number: int) -> int:
    cursor.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value",
        (name, number),
    )
    return int(cursor.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _open(path: Path) -> sqlite3.Connection:
    """The database; a corrupt one is put aside under another name, never repaired by guessing.

    One process at a time: after a power cut three start at once, and the second must not put aside what the first made.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        return _connect(path)
    except sqlite3.DatabaseError as problem:
        if isinstance(problem, sqlite3.OperationalError):
            raise StorageError(f"outbox: {path}: {problem}", "check the disk and the folder's rights") from problem
        _put_aside(path, problem)
        return _connect(path)
    finally:
        os.close(folder)


def _put_aside(path: Path, problem: sqlite3.DatabaseError) -> None:
    mark = f"corrupt-{int(time.time())}"
    for part in path.parent.glob(f"{path.name}*"):
        if ".corrupt-" not in part.name:
            part.replace(part.with_name(f"{part.name}.{mark}"))
    sysd.log("outbox", "error", "database put aside, a new one begun", path=f"{path}.{mark}", problem=problem)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        database.close()
        raise sqlite3.DatabaseError(found)
    database.executescript(_SCHEMA)
    return database


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        raise StorageError(f"outbox: {path}: {problem}", "free space or check the disk; nothing stored before is lost") from problem
