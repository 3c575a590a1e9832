"""Writes a batch of messages in one transaction, each message once: (node, epoch, number) names it.

The order of the statements and of the rows within one is fixed, so that two replicas cannot wait for each other in a circle.
A second message with the same number changes nothing if its content is the same, and is kept as a conflict if it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, case, select

from agent.messages import Tombstone
from central.fleet.collect.intake import GREATEST_NUMBER, Cleared, Taken, is_epoch, ms_of
from central.fleet.collect.store import bands, states
from central.fleet.collect.store.database import greatest, insert
from central.fleet.collect.store.tables import conflicts, epochs, messages, tombstones
from central.fleet.collect.subscriptions import Fresh

Item = Taken | Cleared | Fresh
_MOST_TEXT = 300
_FIRST = {"settled": 0, "rank": 0, "proof": 0, "open": True}


@dataclass(frozen=True)
class Written:
    """What a batch came to. fresh: messages that were not known; the others are counted."""

    fresh: tuple[Taken, ...] = ()
    duplicates: int = 0
    conflicts: int = 0


def write(connection: Connection, replica: str, batch: Sequence[Item]) -> Written:
    """Store a batch, in the order in which it came. replica: whose stream it is."""
    taken = [one for one in batch if isinstance(one, Taken)]
    fresh = _insert(connection, taken)
    again = [one for one in taken if id(one) not in {id(new) for new in fresh}]
    wrong = _conflicting(connection, again)
    if wrong:
        _keep_conflicts(connection, wrong)
    if fresh:
        _reopen(connection, fresh, _keep_tombstones(connection, fresh))
        bands.keep(connection, fresh)
    refused = {id(one) for one in wrong}
    states.write(connection, replica, fresh, [one for one in batch if id(one) not in refused])
    return Written(tuple(fresh), len(again) - len(wrong), len(wrong))


def _insert(connection: Connection, taken: Sequence[Taken]) -> list[Taken]:
    """Those whose number was not known, in the order in which they came."""
    first: dict[tuple[str, str, int], Taken] = {}
    for one in taken:
        first.setdefault(one.key, one)
    if not first:
        return []
    rows = [_row(first[key]) for key in sorted(first)]
    statement = insert(connection, messages).on_conflict_do_nothing().returning(messages.c.node, messages.c.epoch, messages.c.seq)
    found = {(node, epoch, seq) for node, epoch, seq in connection.execute(statement, rows)}
    return [one for key, one in first.items() if key in found]


def _row(one: Taken) -> dict[str, Any]:
    envelope = one.message.envelope
    return {
        **_key_of(one),
        "kind": _kind(one),
        "tail": one.tail[:_MOST_TEXT],
        "received": one.received,
        "told": ms_of(envelope.t),
        "rank": int(one.message.body.route.rank),
        "late": envelope.hist or envelope.clock == "unknown",
        "digest": one.digest,
        "payload": one.payload,
    }


def _key_of(one: Taken) -> dict[str, Any]:
    return dict(zip(("node", "epoch", "seq"), one.key, strict=True))


def _kind(one: Taken) -> str:
    """The type of the message; of health the group's name is in `tail`."""
    return str(one.message.body.__struct_config__.tag)


def _conflicting(connection: Connection, again: Sequence[Taken]) -> list[Taken]:
    """Those whose number is stored with another content."""
    # One by one: SQLite reads the whole table for a list of keys of several columns.
    stored: dict[tuple[str, str, int], bytes] = {}
    for node, epoch, seq in sorted({one.key for one in again}):
        where = and_(messages.c.node == node, messages.c.epoch == epoch, messages.c.seq == seq)
        digest = connection.execute(select(messages.c.digest).where(where)).scalar()
        if digest is not None:
            stored[node, epoch, seq] = bytes(digest)
    return [one for one in again if stored.get(one.key, one.digest) != one.digest]


def _keep_conflicts(connection: Connection, wrong: Iterable[Taken]) -> None:
    rows = {
        (*one.key, one.digest): {
            **_key_of(one),
            "digest": one.digest,
            "received": one.received,
            "tail": one.tail[:_MOST_TEXT],
            "payload": one.payload,
        }
        for one in wrong
    }
    connection.execute(insert(connection, conflicts).on_conflict_do_nothing(), [rows[key] for key in sorted(rows)])


def _keep_tombstones(connection: Connection, fresh: Iterable[Taken]) -> list[tuple[tuple[str, str], int, int]]:
    """Store the ranges of tombstones; node and epoch, last number and time of each: of that epoch nothing may have been heard."""
    rows: dict[tuple[str, str, int, int, str], dict[str, Any]] = {}
    for one in fresh:
        body = one.message.body
        if isinstance(body, Tombstone) and is_epoch(body.epoch):
            for first, last in body.ranges:
                if 0 < first <= last <= GREATEST_NUMBER:
                    row = {"node": one.node, "epoch": body.epoch, "first": first, "last": last, "cause": body.cause}
                    rows[one.node, body.epoch, first, last, body.cause] = {**row, "received": one.received}
    if rows:
        connection.execute(insert(connection, tombstones).on_conflict_do_nothing(), [rows[key] for key in sorted(rows)])
    return [((node, epoch), last, row["received"]) for (node, epoch, _, last, _), row in rows.items()]


def _reopen(connection: Connection, fresh: Iterable[Taken], named: Iterable[tuple[tuple[str, str], int, int]]) -> None:
    """Note the highest number of each epoch, and that its account is to be made again. named: by tombstones."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    live = [((one.node, one.key[1]), one.key[2], one.received, 0 if one.retained else one.key[2]) for one in fresh]
    for key, seq, at, start in (*live, *((key, last, at, 0) for key, last, at in named)):
        row = rows.setdefault(key, {**_FIRST, "node": key[0], "epoch": key[1], "last": 0, "start": 0, "began": at, "heard": at})
        row["last"], row["heard"], row["start"] = max(seq, row["last"]), max(at, row["heard"]), row["start"] or start
    statement = insert(connection, epochs)
    update = {name: greatest(statement.excluded[name], epochs.c[name]) for name in ("last", "heard")}
    update["start"] = case((epochs.c.start == 0, statement.excluded.start), else_=epochs.c.start)
    statement = statement.on_conflict_do_update(index_elements=["node", "epoch"], set_={**update, "open": True})
    connection.execute(statement, [rows[key] for key in sorted(rows)])
