"""Makes the account of each epoch of which something came, from the tables, and stores its gaps."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, or_, select, update
from sqlalchemy import insert as plain_insert

from central.fleet.collect.accounting import OPEN, Account, Epoch, Facts, Gap, account
from central.fleet.collect.store.tables import epochs, gaps, messages, nodes, replicas, tombstones

AWAY_MS = 300_000
"""A replica that was not seen for so long is away."""
_AT_ONCE = 500
_NEW_MS = 3_600_000
_MOST_RANGES = 200
"""Open gaps that a query names one by one; SQLite takes no expression deeper than 1,000. With more, all numbers from the first are
read: a node that was away for days sends its events first, and has a gap between any two."""


def settle(connection: Connection, now: int, session_ms: int) -> int:
    """Account for some epochs; how many. Those that another replica has in hand are left to it.

    session_ms  so long the broker keeps what it holds for a replica that is away
    """
    away = _away(connection, now, session_ms)
    known = select(epochs, nodes.c.first_heard).join(nodes, nodes.c.node == epochs.c.node, isouter=True)
    due = (
        known.where(epochs.c.open)
        .order_by(epochs.c.node, epochs.c.epoch)
        .limit(_AT_ONCE)
        .with_for_update(of=epochs, skip_locked=True)
    )
    rows = connection.execute(due).all()
    for row in rows:
        _store(connection, row, account(_facts(connection, row, away, now)))
    return len(rows)


def reopen(connection: Connection) -> None:
    """Epochs with open gaps are judged again: time has passed, or a replica came back."""
    standing = select(gaps.c.node).where(and_(gaps.c.node == epochs.c.node, gaps.c.epoch == epochs.c.epoch, gaps.c.cause.in_(OPEN)))
    connection.execute(update(epochs).where(and_(~epochs.c.open, standing.exists())).values(open=True))


def _away(connection: Connection, now: int, session_ms: int) -> int | None:
    """Since when the replica is away that has been away for the longest, of those for whom the broker still holds messages."""
    where = and_(replicas.c.seen < now - AWAY_MS, replicas.c.seen > now - session_ms)
    return connection.execute(select(func.min(replicas.c.seen)).where(where)).scalar()


def _facts(connection: Connection, row: Row[tuple[object, ...]], away: int | None, now: int) -> Facts:
    new = row.first_heard is not None and row.began - row.first_heard < _NEW_MS
    epoch = Epoch(row.settled, row.last, row.start, new, row.rank, row.proof)
    here = and_(gaps.c.node == row.node, gaps.c.epoch == row.epoch, gaps.c.cause.in_(OPEN))
    standing = [Gap(*one) for one in connection.execute(select(gaps.c.first, gaps.c.last, gaps.c.cause, gaps.c.found).where(here))]
    least = min([gap.first for gap in standing], default=row.settled + 1)
    inside: list[ColumnElement[bool]] = [messages.c.seq.between(gap.first, gap.last) for gap in standing]
    if len(inside) > _MOST_RANGES:
        inside = [messages.c.seq >= least]
    its = and_(messages.c.node == row.node, messages.c.epoch == row.epoch, or_(messages.c.seq > row.settled, *inside))
    heard = [(seq, rank) for seq, rank in connection.execute(select(messages.c.seq, messages.c.rank).where(its))]
    of = and_(tombstones.c.node == row.node, tombstones.c.epoch == row.epoch, tombstones.c.last >= least)
    named = select(tombstones.c.first, tombstones.c.last, tombstones.c.cause).where(of).order_by(tombstones.c.first)
    return Facts(epoch, heard, [(first, last, cause) for first, last, cause in connection.execute(named)], standing, away, now)


def _store(connection: Connection, row: Row[tuple[object, ...]], made: Account) -> None:
    here = and_(gaps.c.node == row.node, gaps.c.epoch == row.epoch)
    connection.execute(delete(gaps).where(and_(here, gaps.c.cause.in_(OPEN))))
    named = [
        {"node": row.node, "epoch": row.epoch, "first": gap.first, "last": gap.last, "cause": gap.cause, "found": gap.found}
        for gap in made.gaps
    ]
    if named:
        connection.execute(plain_insert(gaps), named)
    epoch = made.epoch
    values = {"settled": epoch.settled, "rank": epoch.rank, "proof": epoch.proof, "open": False}
    connection.execute(update(epochs).where(and_(epochs.c.node == row.node, epochs.c.epoch == row.epoch)).values(**values))
