"""Reads the evidence about suspects from the collector's database, in a bounded number of statements."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, and_, func, select

from agent.messages import LONGEST, RecordInForce, State, decode
from central.fleet.collect.intake import ms_of
from central.fleet.collect.store.tables import alarms, conflicts, health, messages, nodes
from central.fleet.visits.evidence import DAY_MS, HOUR_MS, MINUTE_MS, Evidence, Point, Standing, Word
from central.fleet.visits.groups import Groups
from central.fleet.visits.suspects import EVENTS, REPORTS
from privacy import foreign

WORDS_MS = 7 * DAY_MS
MOST_WORDS = 60
"""Of each topic of a node: a contact that flaps must not fill the memory."""
LOOKS_MS: Final = (10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS - 10 * MINUTE_MS)
"""How long before the last message health is looked at; each in a window of ten minutes, in which every group is sent."""
_WINDOW_MS = 10 * MINUTE_MS
_TREND: Final = tuple(f"health/{group}" for group in ("power", "system", "storage", "buffer", "camera", "clock", "agent", "link"))
_TAILS: Final = ("state", *EVENTS, *REPORTS, "event/light", "event/help", "event/help_test")
_AT_ONCE = 400
"""Names in one statement: SQLite takes at most 32,766 values, and a plan for few is the better one."""
_MOST_STORED = 1 << 20
"""Bytes of JSON in the database: a message of 128 kB may be longer there, with escapes."""
_BUTTON = "help button"
_MOST_NEIGHBOURS = 200


class _Described(Struct, frozen=True):
    """What counts of `describe`."""

    stop: str = ""
    sensors: tuple[str, ...] = ()
    breaks: dict[str, int] = {}
    records: dict[str, RecordInForce] = {}
    certificates: dict[str, datetime | None] = {}


Numbers = dict[str, float | int | None]


class _Values(Struct, frozen=True):
    values: Numbers = {}


class _Health(Struct, frozen=True):
    """What counts of a stored message of health."""

    body: _Values


def evidence(connection: Connection, groups: Groups, names: Sequence[str], now: int) -> Iterator[Evidence]:
    """names: the suspects to read. now: ms since 1970."""
    for at in range(0, len(names), _AT_ONCE):
        yield from _some(connection, groups, names[at : at + _AT_ONCE], now)


def _some(connection: Connection, groups: Groups, names: Sequence[str], now: int) -> Iterator[Evidence]:
    words, series = _words(connection, names), _series(connection, names)
    standing, doubled, late = _alarms(connection, names), _conflicts(connection, names, now), _late(connection, names)
    near = _neighbours(connection, groups, [name for name in names if _hot(series[name])])
    for row in connection.execute(select(nodes).where(nodes.c.node.in_(names)).order_by(nodes.c.node)):
        member = groups.members[row.node]
        told = _described(row.describe)
        tested = now - max(row.help_test, row.first_heard)
        tls = told.certificates.get("tls")
        yield Evidence(
            node=row.node,
            stop=foreign.printable(told.stop, 100),
            area=member.area,
            now_ms=now,
            heard_ms=row.heard,
            state=row.state,
            reason=row.reason,
            owner=row.owner,
            since_ms=min(row.since or row.heard, now),
            until_ms=row.until,
            services=_texts(row.services),
            silence=groups.silence(member),
            words=tuple(sorted(words[row.node], key=lambda one: one.at_ms)),
            alarms=tuple(standing[row.node]),
            series=series[row.node],
            sensors=told.sensors,
            breaks=told.breaks,
            certificate_end_ms=ms_of(tls),
            conflicts=doubled.get(row.node, 0),
            late=late.get(row.node, 0),
            untested_days=tested // DAY_MS if _BUTTON in told.sensors else 0,
            rescued_together=groups.rescued_together(member),
            neighbour_temperature=near.get(row.node),
        )


def _described(text: str) -> _Described:
    return foreign.decode(text.encode(), _Described, "describe", most=_MOST_STORED) if text else _Described()


def _texts(text: str) -> dict[str, str]:
    return foreign.decode(text.encode(), dict[str, str], "services", most=_MOST_STORED) if text else {}


def _words(connection: Connection, names: Sequence[str]) -> dict[str, list[Word]]:
    """The last messages of each topic, in no order."""
    place = (
        func.row_number().over(partition_by=(messages.c.node, messages.c.tail), order_by=messages.c.received.desc()).label("place")
    )
    columns = (messages.c.node, messages.c.received, messages.c.told, messages.c.late, messages.c.payload)
    its = and_(messages.c.node == nodes.c.node, messages.c.tail.in_(_TAILS), messages.c.received > nodes.c.heard - WORDS_MS)
    inner = select(*columns, place).join_from(nodes, messages, its).where(nodes.c.node.in_(names)).subquery()
    found: dict[str, list[Word]] = defaultdict(list)
    for row in connection.execute(select(inner).where(inner.c.place <= MOST_WORDS)):
        message = decode(bytes(row.payload))
        envelope, body = message.envelope, message.body
        # A will is made at the connection's start: its time is when the broker sent it.
        trusted = envelope.clock != "unknown" and not (isinstance(body, State) and body.state == "lost")
        at = min(row.told, row.received) if trusted else row.received
        found[row.node].append(Word(at, envelope.boot_id, envelope.clock, envelope.hist, body))
    return found


def _series(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, tuple[Point, ...]]]:
    """Numbers of health by name, oldest first: at each of `LOOKS_MS`, and the latest."""
    points: dict[str, dict[str, set[tuple[int, float]]]] = defaultdict(lambda: defaultdict(set))
    for node, at, numbers in (*_earlier(connection, names), *_latest(connection, names)):
        for name, value in numbers.items():
            if value is not None:
                points[node][name].add((at, float(value)))
    made = {
        node: {name: tuple(Point(*one) for one in sorted(values)) for name, values in its.items()} for node, its in points.items()
    }
    return defaultdict(dict, made)


def _latest(connection: Connection, names: Sequence[str]) -> Iterator[tuple[str, int, Numbers]]:
    columns = (health.c.node, health.c.received, health.c.numbers)
    for node, received, numbers in connection.execute(select(*columns).where(health.c.node.in_(names))):
        yield node, received, foreign.decode(numbers.encode(), Numbers, "health", most=_MOST_STORED)


def _earlier(connection: Connection, names: Sequence[str]) -> Iterator[tuple[str, int, Numbers]]:
    for ago in LOOKS_MS:
        end = nodes.c.heard - ago
        its = and_(messages.c.node == nodes.c.node, messages.c.tail.in_(_TREND), messages.c.received.between(end - _WINDOW_MS, end))
        last = select(messages.c.node, messages.c.tail, func.max(messages.c.received).label("at")).join_from(nodes, messages, its)
        last_of = last.where(nodes.c.node.in_(names)).group_by(messages.c.node, messages.c.tail).subquery()
        same = and_(messages.c.node == last_of.c.node, messages.c.tail == last_of.c.tail, messages.c.received == last_of.c.at)
        for row in connection.execute(
            select(messages.c.node, messages.c.received, messages.c.payload).join_from(last_of, messages, same)
        ):
            yield row.node, row.received, foreign.decode(bytes(row.payload), _Health, "health", most=LONGEST).body.values


def _alarms(connection: Connection, names: Sequence[str]) -> dict[str, list[Standing]]:
    columns = (alarms.c.node, alarms.c.name, alarms.c.reason, alarms.c.raised)
    found: dict[str, list[Standing]] = defaultdict(list)
    for node, *rest in connection.execute(select(*columns).where(alarms.c.node.in_(names), alarms.c.ended.is_(None))):
        found[node].append(Standing(*rest))
    return found


def _conflicts(connection: Connection, names: Sequence[str], now: int) -> dict[str, int]:
    here = and_(conflicts.c.node.in_(names), conflicts.c.received > now - DAY_MS)
    found = select(conflicts.c.node, func.count().label("number")).where(here).group_by(conflicts.c.node)
    return {row.node: row.number for row in connection.execute(found)}


def _late(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """How many messages of one group of health came late in the day before the node was last heard."""
    recent = messages.c.received.between(nodes.c.heard - DAY_MS, nodes.c.heard)
    its = and_(messages.c.node == nodes.c.node, messages.c.tail == "health/system", recent, messages.c.late)
    counted = select(nodes.c.node, func.count().label("number")).join_from(nodes, messages, its)
    found = counted.where(nodes.c.node.in_(names)).group_by(nodes.c.node)
    return {row.node: row.number for row in connection.execute(found)}


def _hot(series: Mapping[str, tuple[Point, ...]]) -> bool:
    points = series.get("temperature_c", ())
    return bool(points) and points[-1].value >= 80


def _neighbours(connection: Connection, groups: Groups, hot: Iterable[str]) -> dict[str, float]:
    """Median temperature of the other nodes of the area, by the node that is hot; of two at least."""
    found = {}
    for name in hot:
        others = [one for one in groups.area_of(name) if one != name][:_MOST_NEIGHBOURS]
        here = and_(health.c.health_group == "system", health.c.node.in_(others))
        numbers = [
            foreign.decode(text.encode(), Numbers, "health", most=_MOST_STORED)
            for text in connection.execute(select(health.c.numbers).where(here)).scalars()
        ]
        values = [value for one in numbers if (value := one.get("temperature_c")) is not None]
        if len(values) >= 2:
            found[name] = float(statistics.median(values))
    return found
