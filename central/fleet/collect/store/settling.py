"""Makes the account of each epoch of which something came, from the tables, and stores its gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, and_, bindparam, delete, func, select, tuple_, update
from sqlalchemy import insert as plain_insert

from central.fleet.collect.accounting import OPEN, Account, Epoch, Facts, Gap, account
from central.fleet.collect.store.tables import epochs, gaps, messages, nodes, replicas, tombstones

AWAY_MS = 300_000
"""A replica that was not seen for so long is away."""
AT_ONCE = 200
"""Epochs of one transaction, so that none holds the writer up for long."""
_NEW_MS = 3_600_000
_RANGE = (tombstones.c.first, tombstones.c.last, tombstones.c.cause)
Key = tuple[str, str]
"""Node and epoch."""


def settle(connection: Connection, now: int, session_ms: int) -> int:
    """Account for some epochs; how many. Those that another replica has in hand are left to it.

    session_ms  so long the broker keeps what it holds for a replica that is away
    """
    known = select(epochs, nodes.c.first_heard).join(nodes, nodes.c.node == epochs.c.node, isouter=True).where(epochs.c.open)
    due = known.order_by(epochs.c.node, epochs.c.epoch).limit(AT_ONCE).with_for_update(of=epochs, skip_locked=True)
    rows = connection.execute(due).all()
    if rows:
        made = _accounts(connection, rows, _away(connection, now, session_ms), now)
        _store(connection, made)
    return len(rows)


def reopen(connection: Connection) -> None:
    """Epochs with open gaps are judged again: time has passed, or a replica came back."""
    standing = select(gaps.c.node).where(and_(gaps.c.node == epochs.c.node, gaps.c.epoch == epochs.c.epoch, gaps.c.cause.in_(OPEN)))
    connection.execute(update(epochs).where(and_(~epochs.c.open, standing.exists())).values(open=True))


def _away(connection: Connection, now: int, session_ms: int) -> int | None:
    """Since when the replica is away that has been away for the longest, of those for whom the broker still holds messages."""
    where = and_(replicas.c.seen < now - AWAY_MS, replicas.c.seen > now - session_ms)
    return connection.execute(select(func.min(replicas.c.seen)).where(where)).scalar()


def _accounts(connection: Connection, rows: Sequence[Row[Any]], away: int | None, now: int) -> dict[Key, Account]:
    """The account of each epoch, from what its tables hold above `settled` and inside its open gaps."""
    these = tuple_(epochs.c.node, epochs.c.epoch).in_([(row.node, row.epoch) for row in rows])
    standing = _grouped(
        connection, _of(gaps, gaps.c.first, gaps.c.last, gaps.c.cause, gaps.c.found).where(these, gaps.c.cause.in_(OPEN))
    )
    new = _of(messages, messages.c.seq, messages.c.rank).where(these, messages.c.seq > epochs.c.settled)
    heard = _grouped(connection, new)
    named = _grouped(connection, _of(tombstones, *_RANGE).where(these, tombstones.c.last > epochs.c.settled))
    if standing:
        inside = messages.c.seq.between(gaps.c.first, gaps.c.last)
        same = and_(gaps.c.node == epochs.c.node, gaps.c.epoch == epochs.c.epoch, gaps.c.cause.in_(OPEN))
        late = _grouped(connection, _of(messages, messages.c.seq, messages.c.rank).join(gaps, same).where(these, inside))
        of_gaps = tuple_(epochs.c.node, epochs.c.epoch).in_(list(standing))
        named |= _grouped(connection, _of(tombstones, *_RANGE).where(of_gaps))
        heard = {key: [*heard.get(key, []), *late.get(key, [])] for key in heard.keys() | late.keys()}
    made: dict[Key, Account] = {}
    for row in rows:
        key = (row.node, row.epoch)
        isnew = row.first_heard is not None and row.began - row.first_heard < _NEW_MS
        epoch = Epoch(row.settled, row.last, row.start, isnew, row.rank, row.proof)
        known = [Gap(*one) for one in standing.get(key, [])]
        made[key] = account(Facts(epoch, heard.get(key, []), sorted(named.get(key, [])), known, away, now))
    return made


def _of(table: Table, *columns: Any) -> Select[Any]:
    """Rows of a table that belong to epochs, each with node and epoch before it."""
    its = and_(table.c.node == epochs.c.node, table.c.epoch == epochs.c.epoch)
    return select(epochs.c.node, epochs.c.epoch, *columns).select_from(epochs.join(table, its))


def _grouped(connection: Connection, statement: Select[Any]) -> dict[Key, list[Any]]:
    found: dict[Key, list[Any]] = {}
    for node, epoch, *values in connection.execute(statement):
        found.setdefault((node, epoch), []).append(tuple(values))
    return found


def _store(connection: Connection, made: dict[Key, Account]) -> None:
    these = tuple_(gaps.c.node, gaps.c.epoch).in_(list(made))
    connection.execute(delete(gaps).where(these, gaps.c.cause.in_(OPEN)))
    named = [
        {"node": node, "epoch": epoch, "first": gap.first, "last": gap.last, "cause": gap.cause, "found": gap.found}
        for (node, epoch), one in made.items()
        for gap in one.gaps
    ]
    if named:
        connection.execute(plain_insert(gaps), named)
    key = and_(epochs.c.node == bindparam("its_node"), epochs.c.epoch == bindparam("its_epoch"))
    values = [
        {"its_node": node, "its_epoch": epoch, "settled": one.epoch.settled, "rank": one.epoch.rank, "proof": one.epoch.proof}
        for (node, epoch), one in made.items()
    ]
    connection.execute(update(epochs).where(key).values(open=False), values)
