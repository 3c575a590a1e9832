"""What the console reads: typed answers to its questions, from `open_database(url, reading=True)`. Times are ms since 1970.

All that came from a node is data: it is printable and bounded, and whoever shows it on a page escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from msgspec import Struct
from sqlalchemy import Connection, Row, Select, and_, func, or_, select, true

from agent.messages import Describe, Health, HealthGroup, Message
from central.fleet.alarm_catalogue import Severity, entry_of
from central.fleet.collect.accounting import OPEN, Why
from central.fleet.collect.store.tables import alarms, clips, conflicts, epochs, gaps, health, hours, messages, nodes, presses
from privacy import foreign
from privacy.errors import RecordError

T = TypeVar("T")
MOST = 1_000
"""Rows of one answer, unless it says otherwise."""


class NodeNow(Struct, frozen=True):
    """state: the last one told; "lost" while the broker says so, "" of a node that told none. missing: numbers in open gaps."""

    node: str
    state: str
    reason: str
    since: int | None
    until: int | None
    owner: str
    services: dict[str, str]
    heard: int
    lost: int | None
    help_test: int
    help_button: str
    alarms: int
    missing: int
    conflicts: int


class Standing(Struct, frozen=True):
    """An alarm. ended: None while it stands; ending: cleared, over, superseded or not_retained; answered: the call was taken."""

    id: int
    node: str
    name: str
    severity: Severity
    reason: str
    ref: str
    origin: str
    raised: int
    ended: int | None
    ending: str
    answered: int | None


class Press(Struct, frozen=True):
    """A call for help; each moment is None if it was not heard."""

    node: str
    press: str
    pressed: int | None
    taken: int | None
    unanswered: int | None


class Clip(Struct, frozen=True):
    """began: by its name; uploaded: when that was told, None if it was not."""

    node: str
    clip: str
    stage: str
    trigger: str
    reason: str
    bytes: int
    began: int
    changed: int
    uploaded: int | None


class Missing(Struct, frozen=True):
    """Numbers of an outbox that were not heard, and why."""

    node: str
    epoch: str
    first: int
    last: int
    cause: Why
    found: int


class Outbox(Struct, frozen=True):
    """complete: each number up to `last` was heard, or the node said why it will not come."""

    node: str
    epoch: str
    last: int
    settled: int
    heard: int
    complete: bool


class HealthNow(Struct, frozen=True):
    """The last message of a group. unreadable: why a value is None."""

    group: str
    received: int
    numbers: dict[str, float | int | None]
    unreadable: dict[str, str]


class Point(Struct, frozen=True):
    """One value of a series. told: the node's time; None: it could not be read."""

    told: int
    value: float | int | None


class Said(Struct, frozen=True):
    """A stored message. late: the node said so, or its clock was not trusted."""

    node: str
    tail: str
    received: int
    told: int
    late: bool
    message: Message


class Band(Struct, frozen=True):
    """What is kept of an hour: presence none, few, some or crowd; help one or several."""

    hour: int
    what: str
    band: str


def fleet(connection: Connection) -> list[NodeNow]:
    """All nodes, in the order of their names."""
    return _nodes(connection, select(nodes).order_by(nodes.c.node))


def node(connection: Connection, name: str) -> NodeNow | None:
    """One node ("site/node"); None if nothing was heard of it."""
    found = _nodes(connection, select(nodes).where(nodes.c.node == name))
    return found[0] if found else None


def describe(connection: Connection, name: str) -> Describe | None:
    """What the node last said it is; None if it did not."""
    found = connection.execute(select(nodes.c.describe).where(nodes.c.node == name)).scalar()
    return foreign.decode(found.encode(), Describe, "describe", most=256 * 1024) if found else None


def standing(connection: Connection, name: str = "") -> list[Standing]:
    """Alarms that stand, calls for help first, then the oldest. name: of one node."""
    where = and_(alarms.c.ended.is_(None), (alarms.c.node == name) if name else true())
    return _alarms(connection, select(alarms).where(where).order_by(alarms.c.name != "help", alarms.c.raised).limit(MOST))


def ended(connection: Connection, name: str, since: int) -> list[Standing]:
    """Alarms of a node that ended since then, the last first."""
    where = and_(alarms.c.node == name, alarms.c.ended >= since)
    return _alarms(connection, select(alarms).where(where).order_by(alarms.c.ended.desc()).limit(MOST))


def calls(connection: Connection, since: int) -> list[Press]:
    """Calls for help since then, the last first."""
    at = func.coalesce(presses.c.pressed, presses.c.taken, presses.c.unanswered)
    return _all(connection, select(presses).where(at >= since).order_by(at.desc()).limit(MOST), Press)


def clips_between(connection: Connection, name: str, begin: int, end: int) -> list[Clip]:
    """Clips of a node that began in that time, in order. `name` may be "" for all nodes."""
    where = and_(clips.c.began >= begin, clips.c.began < end, (clips.c.node == name) if name else true())
    return _all(connection, select(clips).where(where).order_by(clips.c.began).limit(MOST), Clip)


def missing(connection: Connection, name: str = "") -> list[Missing]:
    """Numbers that were not heard and for which the node named no cause, the last found first. name: of one node."""
    where = and_(gaps.c.cause.in_(OPEN), (gaps.c.node == name) if name else true())
    return _all(connection, select(gaps).where(where).order_by(gaps.c.found.desc(), gaps.c.first).limit(MOST), Missing)


def not_heard(connection: Connection, name: str) -> list[Missing]:
    """All numbers of a node that were not heard, also those that it dropped itself and said so."""
    return _all(connection, select(gaps).where(gaps.c.node == name).order_by(gaps.c.epoch, gaps.c.first).limit(MOST), Missing)


def outboxes(connection: Connection, name: str) -> list[Outbox]:
    """The outboxes of a node, the one that was heard last first."""
    is_open = and_(gaps.c.node == epochs.c.node, gaps.c.epoch == epochs.c.epoch, gaps.c.cause.in_(OPEN))
    complete = and_(epochs.c.last == epochs.c.settled, ~select(gaps.c.first).where(is_open).exists()).label("complete")
    columns = (epochs.c.node, epochs.c.epoch, epochs.c.last, epochs.c.settled, epochs.c.heard, complete)
    found = connection.execute(select(*columns).where(epochs.c.node == name).order_by(epochs.c.heard.desc()).limit(MOST))
    return [Outbox(row.node, row.epoch, row.last, row.settled, row.heard, bool(row.complete)) for row in found]


def health_now(connection: Connection, name: str) -> list[HealthNow]:
    """The last message of each group of a node."""
    found = connection.execute(select(health).where(health.c.node == name).order_by(health.c.health_group))
    numbers = dict[str, float | int | None]
    return [
        HealthNow(row.health_group, row.received, _decoded(row.numbers, numbers), _decoded(row.unreadable, dict[str, str]))
        for row in found
    ]


def series(connection: Connection, name: str, group: HealthGroup, since: int, most: int = 5_000) -> dict[str, list[Point]]:
    """The values of a group of a node since then, by their name, in the order of the node's time."""
    found: dict[str, list[Point]] = {}
    for one in said(connection, name, f"health/{group}", since, most):
        if isinstance(one.message.body, Health):
            for key, value in one.message.body.values.items():
                found.setdefault(foreign.printable(key, 64), []).append(Point(one.told, value))
    return found


def said(connection: Connection, name: str, tail: str, since: int, most: int = MOST) -> list[Said]:
    """Messages of a node on a topic (its part after site and node), received since then, in the order of the node's time."""
    where = and_(messages.c.node == name, messages.c.tail == tail, messages.c.received >= since)
    last = select(messages).where(where).order_by(messages.c.received.desc()).limit(most)
    return sorted(
        (one for row in connection.execute(last) for one in _said(row)), key=lambda one: (one.told, one.message.envelope.seq)
    )


def bands(connection: Connection, name: str, begin: int, end: int) -> list[Band]:
    """What is kept of the hours of a node in that time."""
    where = and_(hours.c.node == name, hours.c.hour >= begin, hours.c.hour < end)
    columns = (hours.c.hour, hours.c.what, hours.c.band)
    return _all(connection, select(*columns).where(where).order_by(hours.c.hour, hours.c.what), Band)


def changed_since(connection: Connection, since: int) -> bool:
    """Whether a node, an alarm or a call is to be shown anew: for live updates."""
    of_nodes = select(nodes.c.node).where(or_(nodes.c.heard > since, nodes.c.lost > since)).limit(1)
    of_alarms = select(alarms.c.id).where(or_(alarms.c.raised > since, alarms.c.ended > since, alarms.c.answered > since)).limit(1)
    return any(connection.execute(one).first() is not None for one in (of_alarms, of_nodes))


def _nodes(connection: Connection, statement: Select[Any]) -> list[NodeNow]:
    rows = connection.execute(statement).all()
    only = rows[0].node if len(rows) == 1 else ""
    stand = _counts(connection, select(alarms.c.node, func.count()).where(alarms.c.ended.is_(None)), alarms.c.node, only)
    numbers = select(gaps.c.node, func.sum(gaps.c.last - gaps.c.first + 1)).where(gaps.c.cause.in_(OPEN))
    lost = _counts(connection, numbers, gaps.c.node, only)
    doubled = _counts(connection, select(conflicts.c.node, func.count()), conflicts.c.node, only)
    return [
        NodeNow(
            node=row.node,
            state="lost" if row.lost is not None else row.state,
            reason=row.reason,
            since=row.lost if row.lost is not None else row.since,
            until=row.until,
            owner=row.owner,
            services=_decoded(row.services or "{}", dict[str, str]),
            heard=row.heard,
            lost=row.lost,
            help_test=row.help_test,
            help_button=row.help_button,
            alarms=stand.get(row.node, 0),
            missing=lost.get(row.node, 0),
            conflicts=doubled.get(row.node, 0),
        )
        for row in rows
    ]


def _counts(connection: Connection, statement: Select[Any], key: Any, only: str) -> dict[str, int]:
    """A number by node. only: of one node, "" for all."""
    narrowed = statement.where(key == only) if only else statement
    return {name: int(number) for name, number in connection.execute(narrowed.group_by(key))}


def _alarms(connection: Connection, statement: Select[Any]) -> list[Standing]:
    columns = ("reason", "ref", "origin", "raised", "ended", "ending", "answered")
    return [
        Standing(row.id, row.node, row.name, entry_of(row.name).severity, *(getattr(row, name) for name in columns))
        for row in connection.execute(statement)
    ]


def _all(connection: Connection, statement: Select[Any], kind: type[T]) -> list[T]:
    """Rows as a struct: columns by the names of its fields."""
    names: Iterable[str] = kind.__struct_fields__  # type: ignore[attr-defined]
    return [kind(**{name: getattr(row, name) for name in names}) for row in connection.execute(statement)]


def _said(row: Row[Any]) -> list[Said]:
    """A stored message was valid when it came; one that a newer version no longer reads is left out."""
    try:
        message = foreign.decode(bytes(row.payload), Message, "message", most=256 * 1024)
    except RecordError:
        return []
    return [Said(row.node, row.tail, row.received, row.told, bool(row.late), message)]


def _decoded(text: str, kind: type[T]) -> T:
    return foreign.decode(text.encode(), kind, "stored", most=256 * 1024)
