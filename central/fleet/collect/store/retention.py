"""Deletes what is over: messages after the days stated, bands after theirs; and the oldest messages if there are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, func, literal_column, select, tuple_

from central.fleet.collect.store.tables import (
    alarms,
    clips,
    conflicts,
    drafts,
    gaps,
    hours,
    messages,
    presses,
    replicas,
    tombstones,
)

DAY_MS = 24 * 3_600_000
AT_ONCE = 5_000
"""Rows of one transaction, so that none holds the others up for long."""
_REPLICA_DAYS = 8


@dataclass(frozen=True)
class Limits:
    """days: of messages and all that they say of one moment; band_days: of the bands; most_rows: of messages, 0 for no limit."""

    days: int = 30
    band_days: int = 400
    most_rows: int = 0


@dataclass(frozen=True)
class Step:
    """One kind of deletion. run: deletes up to `AT_ONCE` rows and returns how many."""

    table: str
    run: Callable[[Connection], int]


def steps(now: int, limits: Limits) -> Iterator[Step]:
    """In this order. now: ms since 1970."""
    end = now - limits.days * DAY_MS
    yield Step("messages", lambda connection: _delete(connection, messages, messages.c.received < end))
    if limits.most_rows:
        yield Step("messages", lambda connection: _beyond(connection, limits.most_rows))
    ends = [
        (conflicts, conflicts.c.received < end),
        (tombstones, tombstones.c.received < end),
        (gaps, gaps.c.found < end),
        (alarms, and_(alarms.c.ended.is_not(None), alarms.c.ended < end)),
        (clips, and_(clips.c.changed < end, clips.c.stage.not_in(("recorded", "uploading")))),
        (presses, func.coalesce(presses.c.unanswered, presses.c.taken, presses.c.pressed) < end),
        (drafts, drafts.c.changed < end),
        (hours, hours.c.hour < now - limits.band_days * DAY_MS),
        (replicas, replicas.c.seen < now - _REPLICA_DAYS * DAY_MS),
    ]
    for table, where in ends:
        yield Step(table.name, lambda connection, table=table, where=where: _delete(connection, table, where))  # type: ignore[misc]


def _delete(connection: Connection, table: Table, where: Any) -> int:
    return _those(connection, table, lambda key: select(*key).where(where).limit(AT_ONCE))


def _beyond(connection: Connection, most: int) -> int:
    """Delete the oldest messages above the limit."""
    above = (connection.execute(select(func.count()).select_from(messages)).scalar() or 0) - most
    if above <= 0:
        return 0
    return _those(connection, messages, lambda key: select(*key).order_by(messages.c.received).limit(min(above, AT_ONCE)))


def _those(connection: Connection, table: Table, chosen: Callable[[list[Any]], Any]) -> int:
    """Delete the rows that `chosen` selects by their key. SQLite would read the whole table for a key of several columns."""
    sqlite = connection.dialect.name == "sqlite"
    key: list[Any] = [literal_column(f"{table.name}.rowid")] if sqlite else list(table.primary_key.columns)
    column = key[0] if sqlite else tuple_(*key)
    return connection.execute(delete(table).where(column.in_(chosen(key).select_from(table).correlate(None)))).rowcount
