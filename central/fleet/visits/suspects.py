"""Which nodes are worth a closer look: one pass over the whole fleet, by indexes and the latest numbers, without reading messages.

What is cheap and may be wrong: a suspect that turns out well costs a few queries, the others cost none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, and_, func, or_, select

from central.fleet.collect.alarms import DAY_MS, INTERVAL_MS, SILENT_TIMES
from central.fleet.collect.store.tables import alarms, conflicts, health, messages, nodes
from central.fleet.visits.statements import field, holds
from privacy.foreign import printable

EVENTS: Final = ("event/failure", "event/link", "event/tamper", "event/door")
REPORTS: Final = ("config/reported", "basis/reported", "view/reported")
RESCUE: Final = "event/link"
EVENTS_MS = 3 * DAY_MS
STATES = 12
"""States in a day: a day has two for the hours and two for a visit."""
_WELL = ("", "ready", "off", "setup", "starting", "stopping")
_AT_LEAST: Final[Mapping[str, Mapping[str, float]]] = {
    "power": {"undervoltage_times": 3, "undervoltage": 1},
    "system": {"temperature_c": 80, "watchdog_resets": 1},
    "storage": {"life_used": 0.9, "end_of_life": 2, "used_share": 0.98, "read_only": 1},
    "buffer": {"camera_events_lost": 1, "io_events_lost": 1, "io_contact_failures": 3, "corrupt": 1},
    "camera": {"pictures_lost": 100, "pictures_broken": 100},
    "link": {"messages_set_aside": 1, "messages_refused": 1},
    "agent": {"camera_restarts": 3, "io_restarts": 3, "uplink_restarts": 3},
}
_BELOW: Final[Mapping[str, Mapping[str, float]]] = {
    "clock": {"trusted": 1},
    "system": {"memory_available_mb": 50},
    "link": {"connected_share": 0.9},
}
_GROUPS: Final = tuple(sorted({*_AT_LEAST, *_BELOW}))
_HELP_TEST_MS = 8 * DAY_MS
_AT_ONCE = 400


class Member(Struct, frozen=True):
    """A node of the fleet. fell_ms: since when it is silent, None for one that is heard; by its will, else by its last message."""

    node: str
    area: str
    heard_ms: int
    fell_ms: int | None


class Fleet(Struct, frozen=True):
    """members: all nodes by name; suspects: names; rescues: when link rescues of three days came, by node."""

    members: Mapping[str, Member]
    suspects: tuple[str, ...]
    rescues: Mapping[str, tuple[int, ...]]


def look(connection: Connection, now: int) -> Fleet:
    """The whole fleet, and who is suspect. now: ms since 1970."""
    members = {one.node: one for one in _members(connection, now)}
    found = {one.node for one in members.values() if one.fell_ms is not None}
    for statement in _statements(connection, now):
        found.update(connection.execute(statement).scalars())
    known = tuple(sorted(found & members.keys()))
    return Fleet(members, known, _rescues(connection, known, now))


def _members(connection: Connection, now: int) -> Iterable[Member]:
    columns = (nodes.c.node, nodes.c.heard, nodes.c.lost, field(connection, nodes.c.describe, "area").label("area"))
    silent_ms = SILENT_TIMES * INTERVAL_MS
    for row in connection.execute(select(*columns)):
        fell = row.lost if row.lost is not None else row.heard if now - row.heard > silent_ms else None
        yield Member(row.node, printable(row.area or row.node.partition("/")[0], 80), row.heard, fell)


def _rescues(connection: Connection, names: Sequence[str], now: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = defaultdict(list)
    for at in range(0, len(names), _AT_ONCE):
        its = and_(messages.c.node.in_(names[at : at + _AT_ONCE]), messages.c.tail == RESCUE, messages.c.received > now - EVENTS_MS)
        for node, received in connection.execute(select(messages.c.node, messages.c.received).where(its)):
            found[node].append(received)
    return {node: tuple(times) for node, times in found.items()}


def _said(tails: Sequence[str], since: int, *more: Any) -> Any:
    """How many messages of these topics a node sent since then.

    One look into the index for each node and topic: a join would go through all messages, which are mostly health.
    """
    where = (messages.c.node == nodes.c.node, messages.c.tail.in_(tails), messages.c.received > since, *more)
    return select(func.count()).where(*where).scalar_subquery()


def _statements(connection: Connection, now: int) -> Iterable[Any]:
    """Statements that find suspects: by state, events, refused records, alarms, numbers, second identities, missing tests."""
    odd = or_(nodes.c.state.not_in(_WELL), nodes.c.reason == "time_unknown", nodes.c.describe.contains("session_taken_over"))
    untested = and_(
        nodes.c.describe.contains("help button"), nodes.c.first_heard < now - _HELP_TEST_MS, nodes.c.help_test < now - _HELP_TEST_MS
    )
    yield select(nodes.c.node).where(or_(odd, untested, nodes.c.help_button == "closed", nodes.c.back > now - DAY_MS))
    yield select(alarms.c.node).where(alarms.c.ended.is_(None), alarms.c.name != "help").distinct()
    yield select(conflicts.c.node).where(conflicts.c.received > now - DAY_MS).distinct()
    yield select(health.c.node).where(or_(*_limits(connection))).distinct()
    refused = _said(REPORTS, now - EVENTS_MS, holds(connection, messages.c.payload, b'"refused"'))
    yield select(nodes.c.node).where(_said(EVENTS, now - EVENTS_MS) > 0)
    yield select(nodes.c.node).where(refused > 0)
    yield select(nodes.c.node).where(_said(("state",), now - DAY_MS) > STATES)


def _limits(connection: Connection) -> Iterable[Any]:
    for group in _GROUPS:
        number = {name: field(connection, health.c.numbers, name, number=True) for name in _names(group)}
        at_least = [number[name] >= bound for name, bound in _AT_LEAST.get(group, {}).items()]
        below = [number[name] < bound for name, bound in _BELOW.get(group, {}).items()]
        yield and_(health.c.health_group == group, or_(*at_least, *below))


def _names(group: str) -> set[str]:
    return {*_AT_LEAST.get(group, {}), *_BELOW.get(group, {})}
