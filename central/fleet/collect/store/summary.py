"""Figures of the whole fleet for Prometheus, and the sign of life of a replica."""

from __future__ import annotations

from sqlalchemy import Connection, and_, case, func, select

from central.fleet.alarm_catalogue import entry_of
from central.fleet.collect.metrics import Fleet
from central.fleet.collect.store.database import insert
from central.fleet.collect.store.tables import alarms, gaps, messages, nodes, replicas

_MOST_ALARMS = 5_000


def seen(connection: Connection, replica: str, now: int) -> None:
    """This replica runs."""
    statement = insert(connection, replicas).values(replica=replica, seen=now)
    connection.execute(statement.on_conflict_do_update(index_elements=["replica"], set_={"seen": now}))


def fleet(connection: Connection) -> Fleet:
    state = case((nodes.c.lost.is_not(None), "lost"), (nodes.c.state == "", "unknown"), else_=nodes.c.state)
    states = {str(row[0]): int(row[1]) for row in connection.execute(select(state, func.count()).group_by(state))}
    standing = (
        select(alarms.c.node, alarms.c.name, alarms.c.reason)
        .where(alarms.c.ended.is_(None))
        .order_by(alarms.c.id)
        .limit(_MOST_ALARMS)
    )
    found = [(node, name, entry_of(name, reason).severity) for node, name, reason in connection.execute(standing)]
    numbers = select(gaps.c.cause, func.sum(gaps.c.last - gaps.c.first + 1)).group_by(gaps.c.cause)
    missing = {cause: int(number) for cause, number in connection.execute(numbers)}
    calls = and_(alarms.c.ended.is_(None), alarms.c.name == "help", alarms.c.answered.is_(None))
    waiting = connection.execute(select(func.count()).select_from(alarms).where(calls)).scalar() or 0
    rows = connection.execute(select(func.count()).select_from(messages)).scalar() or 0
    return Fleet(states, found, missing, waiting, rows)
