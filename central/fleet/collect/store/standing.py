"""Which alarms stand: raised by a retained message, ended by an empty one, which says nothing but its topic.

Each replica hears all alarms, and one that was away hears what is old. So an empty message ends the alarm that this replica last
saw on the topic, and no other one that was raised since.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, select, update
from sqlalchemy import insert as plain_insert

from agent.messages import Alarm
from central.fleet.collect.intake import Cleared, Taken
from central.fleet.collect.store.database import insert
from central.fleet.collect.store.tables import alarms, streams
from central.fleet.collect.subscriptions import Fresh
from privacy.foreign import printable

NODE, COLLECTOR = "node", "collector"
_MOST_NAME = 64


def write(connection: Connection, replica: str, fresh: Collection[int], batch: Sequence[Taken | Cleared | Fresh]) -> None:
    """fresh: `id` of the messages that are stored for the first time."""
    for one in batch:
        if isinstance(one, Fresh):
            connection.execute(delete(streams).where(streams.c.replica == replica))
        elif isinstance(one, Cleared):
            _clear(connection, replica, one)
        elif isinstance(body := one.message.body, Alarm):
            name, (node, epoch, seq) = body.name[:_MOST_NAME], one.key
            _see(connection, replica, node, name, epoch, seq)
            if id(one) in fresh:
                reason, ref = printable(body.reason, 100), printable(body.ref, 64)
                raise_alarm(connection, node, name, reason, ref, one.received, NODE, epoch, seq)


def raise_alarm(
    connection: Connection, node: str, name: str, reason: str, ref: str, now: int, origin: str, epoch: str = "", seq: int = 0
) -> None:
    """One that stands is brought up to date; if it is about something else (`ref`), that one ends and this one begins."""
    stands = and_(alarms.c.node == node, alarms.c.name == name, alarms.c.ended.is_(None))
    old = connection.execute(select(alarms.c.id, alarms.c.ref).where(stands)).first()
    if old and old.ref == ref:
        connection.execute(update(alarms).where(alarms.c.id == old.id).values(reason=reason, epoch=epoch, seq=seq))
        return
    if old:
        connection.execute(update(alarms).where(alarms.c.id == old.id).values(ended=now, ending="superseded"))
    row: dict[str, Any] = {"node": node, "name": name, "reason": reason, "ref": ref, "origin": origin, "epoch": epoch, "seq": seq}
    # Another replica may raise the same alarm at the same time: the index lets one of the two stand.
    connection.execute(insert(connection, alarms).values(**row, raised=now, ending="").on_conflict_do_nothing())


def end_alarm(connection: Connection, node: str, name: str, now: int, ending: str, origin: str) -> None:
    stands = and_(alarms.c.node == node, alarms.c.name == name, alarms.c.ended.is_(None), alarms.c.origin == origin)
    connection.execute(update(alarms).where(stands).values(ended=now, ending=ending))


def answered(connection: Connection, node: str, press: str, now: int) -> None:
    """A call for help was taken: it is not told again."""
    where = and_(alarms.c.node == node, alarms.c.ref == press, alarms.c.ended.is_(None), alarms.c.answered.is_(None))
    connection.execute(update(alarms).where(where).values(answered=now))


def end_unretained(connection: Connection, replica: str, before: int, now: int) -> int:
    """End the alarms of nodes that the broker did not send in this replica's new session: they were ended while nobody listened.

    before  ms; only alarms that were raised earlier: all that stand and are retained have come since the session began
    """
    here = and_(streams.c.replica == replica, streams.c.node == alarms.c.node, streams.c.name == alarms.c.name, streams.c.seq > 0)
    retained = select(streams.c.node).where(here).exists()
    gone = and_(alarms.c.ended.is_(None), alarms.c.origin == NODE, alarms.c.raised < before, ~retained)
    return connection.execute(update(alarms).where(gone).values(ended=now, ending="not_retained")).rowcount


def _clear(connection: Connection, replica: str, one: Cleared) -> None:
    name = one.name[:_MOST_NAME]
    here = and_(streams.c.replica == replica, streams.c.node == one.node, streams.c.name == name)
    seen = connection.execute(select(streams.c.epoch, streams.c.seq).where(here)).first()
    stands = and_(alarms.c.node == one.node, alarms.c.name == name, alarms.c.ended.is_(None), alarms.c.origin == NODE)
    if seen:
        stands = and_(stands, alarms.c.epoch == seen.epoch, alarms.c.seq == seen.seq)
        connection.execute(update(streams).where(here).values(epoch="", seq=0))
    else:
        connection.execute(plain_insert(streams).values(replica=replica, node=one.node, name=name, epoch="", seq=0))
    connection.execute(update(alarms).where(stands).values(ended=one.received, ending="cleared"))


def _see(connection: Connection, replica: str, node: str, name: str, epoch: str, seq: int) -> None:
    statement = insert(connection, streams).values(replica=replica, node=node, name=name, epoch=epoch, seq=seq)
    update_to = {"epoch": epoch, "seq": seq}
    connection.execute(statement.on_conflict_do_update(index_elements=["replica", "node", "name"], set_=update_to))
