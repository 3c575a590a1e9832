"""Which alarms are to be handed on now, and which of several replicas does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select, update

from central.fleet.collect.store.tables import alarms

_ENDED_MS = 300_000
_CLAIM_MS = 30_000
_MOST = 100
_MOST_STANDING = 20_000


@dataclass(frozen=True)
class Told:
    """An alarm as it is told. ended: None while it stands; again: it was told before."""

    id: int
    node: str
    name: str
    reason: str
    ref: str
    origin: str
    raised: int
    ended: int | None
    again: bool


_COLUMNS = (
    alarms.c.id,
    alarms.c.node,
    alarms.c.name,
    alarms.c.reason,
    alarms.c.ref,
    alarms.c.origin,
    alarms.c.raised,
    alarms.c.ended,
)
_AGAIN = alarms.c.told_at.is_not(None).label("again")


def standing_and_ended(connection: Connection, now: int) -> list[Told]:
    """All that stand, and those that ended in the last five minutes: Alertmanager is told each several times.

    Of several about one topic only the last: for Alertmanager they are one.
    """
    where = or_(alarms.c.ended.is_(None), alarms.c.ended > now - _ENDED_MS)
    rows = connection.execute(select(*_COLUMNS, _AGAIN).where(where).order_by(alarms.c.id).limit(_MOST_STANDING))
    last = {(one.node, one.name): one for one in map(_told, rows)}
    return list(last.values())


def claim(connection: Connection, now: int, again_ms: int) -> list[Told]:
    """Take alarms in hand that a webhook is to be told of; another replica takes them if they are not told within half a minute.

    Due: one that was never told; one that ended after it was told; a call for help that nobody took, each `again_ms`.
    """
    never = and_(alarms.c.told_at.is_(None), or_(alarms.c.ended.is_(None), alarms.c.name == "help"))
    ended = and_(alarms.c.ended.is_not(None), alarms.c.told_at.is_not(None), alarms.c.told_at < alarms.c.ended)
    call = and_(alarms.c.ended.is_(None), alarms.c.name == "help", alarms.c.answered.is_(None), alarms.c.told_at <= now - again_ms)
    free = or_(alarms.c.claimed.is_(None), alarms.c.claimed < now - _CLAIM_MS)
    due = select(*_COLUMNS, _AGAIN).where(and_(free, or_(never, ended, call))).order_by(alarms.c.name != "help", alarms.c.id)
    rows = connection.execute(due.limit(_MOST).with_for_update(skip_locked=True)).all()
    if rows:
        connection.execute(update(alarms).where(alarms.c.id.in_([row.id for row in rows])).values(claimed=now))
    return [_told(row) for row in rows]


def release(connection: Connection, claimed: list[Told]) -> None:
    """They could not be told: whoever can, may take them at once."""
    connection.execute(update(alarms).where(alarms.c.id.in_([one.id for one in claimed])).values(claimed=None))


def told(connection: Connection, one: Told, now: int) -> None:
    """It was told, as it was when it was claimed. `now`: of the claim; if it ended since, that is still to be told."""
    at = max(now, one.ended or 0)
    connection.execute(update(alarms).where(alarms.c.id == one.id).values(told_at=at, claimed=None))


def _told(row: Row[Any]) -> Told:
    return Told(row.id, row.node, row.name, row.reason, row.ref, row.origin, row.raised, row.ended, bool(row.again))
