"""An outbox: every message is on the disk before it counts as sent, and is deleted only when the broker has acknowledged it.

A node has two: one SQLite file for camera, retention, uplink and the helpers of root, one that only io opens. seq is given in the
insert transaction and never reused; epoch is the database's id, so that its loss is visible. Every number given is accounted for:
its message is delivered, or waits, or a tombstone names it.

Bounds: health older than a day is thinned to one batch an hour; beyond the rows or bytes below, the oldest is deleted in
the order of `agent.ranks.DROPS`, help and alarms never.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from agent.envelope import Envelope
from agent.messages import Body, Cause, Health, Message, Tombstone, encode
from agent.outbox import rows as table
from agent.outbox.damaged import last_lost
from agent.outbox.database import SHARED, OutboxFile
from agent.outbox.schema import check_numbers, check_row, check_schema, refuse_programs
from agent.outbox.topic_rank import rank_of
from agent.ranks import Rank
from drivers.clock import SystemClock
from privacy.errors import StorageError

MOST_ROWS = 100_000
MOST_BYTES = 32_000_000
"""Of topics and payloads: file and log take at most 45 MB. A node makes 5.5 MB of health on its first day offline, then 0.1 MB
a day, and 0.35 MB of 600 changes of presence and 100 clips: nine weeks. Measured by `python -m tests.bench.weeks`."""
FULL_HEALTH_MS = 24 * 3_600_000
_HOUR_MS = 3_600_000
_MOST_RANGES = 500
LOSSES: tuple[Cause, ...] = ("bound", "thinned", "expired", "corrupt", "set_aside")
_ROWS = "SELECT rank, seq, tail, retain, put_ms, expiry_s, payload FROM messages"
_LIMIT = len(Rank) + 1
_TAKE = (
    " UNION ALL ".join(
        f"SELECT * FROM ({_ROWS} WHERE rank = {rank:d} AND seq > ?{rank + 1} ORDER BY seq LIMIT ?{_LIMIT})" for rank in Rank
    )
    + f" ORDER BY rank, seq LIMIT ?{_LIMIT}"
)


class Numbered(Protocol):
    """Anything that identifies a message."""

    @property
    def epoch(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def seq(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message that has not been acknowledged. put_ms: wall clock, ms since 1970; an empty payload clears a topic."""

    epoch: str
    rank: Rank
    seq: int
    tail: str
    retain: bool
    put_ms: int
    expiry_s: int | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """A reader's position: the last number taken of each rank, in one epoch."""

    epoch: str = ""
    taken: tuple[int, ...] = (0,) * len(Rank)

    def past(self, waiting: Waiting) -> Mark:
        old = self if waiting.epoch == self.epoch else Mark(waiting.epoch)
        return replace(old, taken=(*old.taken[: waiting.rank], waiting.seq, *old.taken[waiting.rank + 1 :]))


class Class(Struct, frozen=True):
    """Waiting messages of one rank. oldest_ms: wall clock when the oldest was put, None if none; bytes: topics and payloads."""

    name: str
    rows: int
    bytes: int
    oldest_ms: int | None


class Summary(Struct, frozen=True):
    """An overview of an outbox for a person. dropped: by cause, since its database was made."""

    epoch: str
    pending: int
    file_bytes: int
    dropped: dict[str, int]
    classes: tuple[Class, ...]


class Outbox:
    """May be used from several threads and processes.

    mode  of the file
    now   open it now, and fail if that is not possible; else at the first use
    """

    def __init__(
        self,
        path: Path,
        site: str,
        node: str,
        clock: SystemClock,
        most: int = MOST_ROWS,
        most_bytes: int = MOST_BYTES,
        *,
        mode: int = SHARED,
        now: bool = True,
    ) -> None:
        self.path, self.site, self.node, self._clock = path, site, node, clock
        self._most, self._most_bytes = most, most_bytes
        self._thinned = 0
        self._file = OutboxFile(path, self._begin, mode, now=now)

    @property
    def epoch(self) -> str:
        return self._file.epoch

    def put(self, *bodies: Body, expiry_s: int | None = None) -> list[str]:
        """Store messages in one transaction; their ids. On the disk when this returns, else `StorageError`."""
        return self._file.write(lambda cursor: self._put(cursor, self.epoch, bodies, expiry_s))

    def will(self, body: Body) -> bytes:
        """The payload of an MQTT will, which the broker sends in our place: its number is given now, and recorded as the will's."""

        def work(cursor: sqlite3.Cursor) -> bytes:
            [number] = table.numbers(cursor, 1)
            table.bury(cursor, [number], "will")
            return encode(Message(self._envelope(self.epoch, number), body))

        return self._file.write(work)

    def clear(self, tail: str) -> None:
        """Put an empty retained message, which clears a topic. It cannot carry its number: a tombstone names it."""
        row = (tail, True, self._now_ms(), None, b"")
        self._file.write(lambda cursor: table.insert(cursor, [(rank_of(tail), *table.numbers(cursor, 1), *row)]))

    def take(self, after: Mark, limit: int) -> list[Waiting]:
        """Messages after a mark, the most urgent first, and in the order of their numbers within a rank."""

        def work(cursor: sqlite3.Cursor) -> list[Waiting]:
            taken = after.taken if after.epoch == self.epoch else Mark().taken
            return [_waiting(self.epoch, row) for row in cursor.execute(_TAKE, (*taken, limit))]

        return self._file.look(work)

    def find(self, seq: int) -> Waiting | None:
        def work(cursor: sqlite3.Cursor) -> Waiting | None:
            row = cursor.execute(f"{_ROWS} WHERE seq = ?", (seq,)).fetchone()
            return _waiting(self.epoch, row) if row else None

        return self._file.look(work)

    def delete(self, heard: Sequence[Numbered]) -> None:
        """Delete messages that the broker has acknowledged."""

        def work(cursor: sqlite3.Cursor) -> None:
            gone = table.remove(cursor, self._mine(heard))
            table.bury(cursor, [one.seq for one in gone if one.empty], "cleared")

        self._file.write(work)

    def expire(self, late: Sequence[Numbered]) -> None:
        """Delete messages that are no longer of use."""
        self._file.write(lambda cursor: table.drop(cursor, self._mine(late), "expired"))

    def give_up(self, unreadable: Sequence[Numbered]) -> None:
        """Delete messages that cannot be sent: damaged by the disk, or changed by another program."""
        self._file.write(lambda cursor: table.drop(cursor, self._mine(unreadable), "corrupt"))

    def set_aside(self, broke: Sequence[Numbered]) -> None:
        """Delete messages that broke the link, or had no answer, each time they were sent."""
        self._file.write(lambda cursor: table.drop(cursor, self._mine(broke), "set_aside"))

    def tell_gone(self) -> None:
        """Put tombstones for all numbers whose messages were dropped since the last time, or that never had a message."""
        if self._file.read("SELECT 1 FROM gone LIMIT 1"):
            self._file.write(self._entomb)

    def needs_rebuild(self) -> bool:
        """Whether this database is new, so that the clips in the clip folders must be reported again."""
        return bool(self._file.read("SELECT 1 FROM meta WHERE name = 'rebuild'"))

    def rebuild(self, bodies: Sequence[Body]) -> None:
        """Put the messages about the clip folders, once, in one transaction; nothing if that was done already."""

        def work(cursor: sqlite3.Cursor) -> None:
            if cursor.execute("DELETE FROM meta WHERE name = 'rebuild'").rowcount:
                self._put(cursor, self.epoch, bodies)

        self._file.write(work)

    def pending(self) -> int:
        return self._file.look(lambda cursor: table.count(cursor, "rows"))

    def dropped(self) -> int:
        """Messages that will never be delivered, since this database was made."""
        return sum(self.drops().values())

    def drops(self) -> dict[str, int]:
        """The same by cause."""
        return self._file.look(lambda cursor: {cause: table.count(cursor, f"gone.{cause}") for cause in LOSSES})

    def size(self) -> int:
        """Bytes on the disk."""
        return self._file.size

    def classes(self) -> list[Class]:
        """The messages that wait, by rank. Reads the whole database: only for requests of a person."""
        text = "SELECT rank, count(*), sum(length(tail) + length(payload)), min(put_ms) FROM messages GROUP BY rank"
        found = {rank: counts for rank, *counts in self._file.read(text)}
        return [Class(rank.name.lower(), *found.get(rank, (0, 0, None))) for rank in Rank]

    def summary(self) -> Summary:
        pending, drops, classes = self.pending(), self.drops(), tuple(self.classes())
        return Summary(self.epoch, pending, self.size(), drops, classes)

    def close(self) -> None:
        self._file.close()

    def _begin(self, cursor: sqlite3.Cursor) -> str:
        """Tables and epoch; a new file also reports the one it replaces. `DamagedError` for a file not made by this program."""
        refuse_programs(cursor)
        known = cursor.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone() if table.tables(cursor) else None
        version = int(cursor.execute("PRAGMA user_version").fetchone()[0])
        if known and version not in (0, table.VERSION):
            raise StorageError(
                f"outbox: version: must be {table.VERSION} (got {version})", "it is of a newer lykta: install that one"
            )
        if version != table.VERSION:
            table.upgrade(cursor)
        check_schema(cursor)
        epoch = str(known[0]) if known else self._found(cursor)
        check_numbers(cursor)
        table.recount(cursor)
        return epoch

    def _found(self, cursor: sqlite3.Cursor) -> str:
        epoch = uuid.uuid4().hex
        cursor.execute("INSERT INTO meta VALUES ('epoch', ?), ('rebuild', 1)", (epoch,))
        lost = last_lost(self.path)
        if lost:
            ranges = ((1, lost.last),) if lost.last else ()
            self._put(cursor, epoch, [Tombstone(lost.epoch, "corrupt", ranges)])
        return epoch

    def _put(self, cursor: sqlite3.Cursor, epoch: str, bodies: Sequence[Body], expiry_s: int | None = None) -> list[str]:
        now_ms = self._now_ms()
        made = [self._envelope(epoch, seq) for seq in table.numbers(cursor, len(bodies))]
        rows = []
        for envelope, body in zip(made, bodies, strict=True):
            tail, payload = body.tail, encode(Message(envelope, body))
            rows.append((body.route.rank, envelope.seq, tail, body.route.retain, now_ms, expiry_s, payload))
        table.insert(cursor, rows)
        if any(isinstance(body, Health) for body in bodies):
            self._thin(cursor, now_ms)
        self._bound(cursor)
        return [envelope.id for envelope in made]

    def _envelope(self, epoch: str, seq: int) -> Envelope:
        clock = self._clock
        return Envelope(1, str(uuid.uuid4()), epoch, seq, clock.now(), clock.mono_ms(), clock.boot_id, clock.state(), False)

    def _now_ms(self) -> int:
        return round(self._clock.now().timestamp() * 1000)

    def _thin(self, cursor: sqlite3.Cursor, now_ms: int) -> None:
        """Once an hour: of health that is older than a day the first batch of each hour stays."""
        if now_ms // _HOUR_MS == self._thinned:
            return
        self._thinned = now_ms // _HOUR_MS
        text = "SELECT seq, put_ms FROM messages WHERE rank = ? AND put_ms < ? ORDER BY seq"
        stays: dict[int, int] = {}
        old = cursor.execute(text, (Rank.HEALTH, now_ms - FULL_HEALTH_MS)).fetchall()
        table.drop(cursor, [(Rank.HEALTH, seq) for seq, put in old if stays.setdefault(put // _HOUR_MS, put) != put], "thinned")

    def _bound(self, cursor: sqlite3.Cursor) -> None:
        rows, size = table.count(cursor, "rows"), table.count(cursor, "bytes")
        if rows > self._most or size > self._most_bytes:
            table.drop(cursor, list(table.least(cursor, rows - self._most, size - self._most_bytes)), "bound")

    def _entomb(self, cursor: sqlite3.Cursor) -> None:
        found = cursor.execute("SELECT cause, first, last FROM gone ORDER BY cause, first").fetchall()
        cursor.execute("DELETE FROM gone")
        tombstones = []
        for cause, rows in groupby(found, key=lambda row: row[0]):
            ranges = [(first, last) for _, first, last in rows]
            pieces = [tuple(ranges[at : at + _MOST_RANGES]) for at in range(0, len(ranges), _MOST_RANGES)]
            tombstones += [Tombstone(self.epoch, cause, piece) for piece in pieces]
        self._put(cursor, self.epoch, tombstones)

    def _mine(self, messages: Iterable[Numbered]) -> list[tuple[int, int]]:
        """Keys of the messages of this database; numbers of another epoch are ignored."""
        return [(one.rank, one.seq) for one in messages if one.epoch == self.epoch]


def _waiting(epoch: str, row: tuple[Any, ...]) -> Waiting:
    check_row(row)
    rank, seq, tail, retain, put_ms, expiry_s, payload = row
    return Waiting(epoch, Rank(rank), seq, tail, bool(retain), put_ms, expiry_s, payload)
