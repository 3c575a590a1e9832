"""Nodes whose messages go through the collector's own intake and writer at chosen times, and the visits that follow."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from agent.envelope import ClockState, Envelope
from agent.messages import Body, Describe, Health, HealthGroup, HelpTest, Message, State, encode, topic
from central.fleet.collect.intake import Cleared, Taken, take
from central.fleet.collect.store.writing import write
from central.fleet.visits.listing import visits
from central.fleet.visits.visit import Visit

NOW = 1_796_000_000_000
"""Milliseconds since 1970."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LOST = State("lost", "connection", None, None, "technician", {})
_LOOKS = (DAY, DAY - 5 * MINUTE, 6 * HOUR + 5 * MINUTE, HOUR + 5 * MINUTE, 15 * MINUTE, 5 * MINUTE)
_USUAL: dict[HealthGroup, dict[str, float]] = {
    "system": {"temperature_c": 45.0, "load_1m": 0.4, "memory_available_mb": 2000, "watchdog_resets": 0},
    "power": {"throttled_now": 0, "undervoltage": 0, "undervoltage_times": 1, "throttled_times": 0},
    "storage": {"free_mb": 20_000, "used_share": 0.3, "written_mb_day": 120},
    "camera": {"pictures_lost": 2, "pictures_broken": 0, "clips": 4},
    "link": {"connected": 1, "messages_refused": 0, "messages_set_aside": 0},
    "clock": {"trusted": 1, "sync_age_s": 300},
    "buffer": {"pending": 0, "camera_events_lost": 0, "io_events_lost": 0, "io_contact_failures": 0, "corrupt": 0},
    "agent": {"uplink_mb": 50.0},
}


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def state(name: Any, reason: str, at: int, owner: Any = "nobody", **services: str) -> State:
    return State(name, reason, moment(at), None, owner, {"camera": name, "io": "ready", "uplink": "ready", **services})


def describe(area: str, **more: Any) -> Describe:
    """Of a stop with a fan and a help button, whose certificate ends in a year."""
    certificates = {"tls": moment(NOW + 365 * DAY)}
    parts: dict[str, Any] = {"sensors": ("camera: picamera2", "help button", "fan"), "certificates": certificates} | more
    return Describe("Pi 5", "1", parts.pop("sensors"), "lykta 1", {}, {}, stop="Main Street", area=area, **parts)


@dataclass
class Stop:
    """One node. end: when it was last heard; `messages`: what it says, as the collector takes it."""

    name: str = "city/stop-1"
    area: str = "North"
    end: int = NOW
    epoch: str = field(default_factory=lambda: uuid.uuid4().hex)
    messages: list[Taken | Cleared] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def say(
        self, body: Body, at: int, *, boot: str = "b1", clock: ClockState = "synced", told: int | None = None, seq: int = 0
    ) -> Stop:
        """at: when the collector hears it; told: when it was so, which makes it late."""
        when = at if told is None else told
        envelope = Envelope(
            1, uuid.uuid4().hex, self.epoch, seq or next(self._numbers), moment(when), when % DAY, boot, clock, told is not None
        )
        site, _, node = self.name.partition("/")
        taken = take(topic(site, node, body.tail), encode(Message(envelope, body)), 1, at)
        assert isinstance(taken, Taken), taken
        self.messages.append(taken)
        return self

    def usual(self, undervoltage_times: float = 1, **more: Any) -> Stop:
        """A day of a node that works, until `end`. more: of `describe`."""
        self.say(describe(self.area, **more), self.end - 20 * DAY)
        self.say(HelpTest("t", "open"), self.end - 2 * DAY)
        self.say(state("ready", "filming", self.end - 8 * HOUR), self.end - 8 * HOUR)
        for ago in _LOOKS:
            self.health(ago, undervoltage_times=undervoltage_times)
        return self.health(0, undervoltage_times=undervoltage_times)

    def health(self, ago: int, **other: float) -> Stop:
        """All groups, so long before the end; other: numbers that are not as usual."""
        for group, numbers in _USUAL.items():
            its = {name: other.get(name, value) for name, value in numbers.items()}
            its |= {name: value for name, value in other.items() if _group_of(name) == group}
            self.say(Health(group, dict(its), {}), self.end - ago)
        return self

    def told(self, **other: float) -> Stop:
        """Health of the last hours with other numbers; the day began as usual."""
        for ago in (60 * MINUTE, 30 * MINUTE, 12 * MINUTE, 4 * MINUTE, 0):
            self.health(ago, **other)
        return self


def _group_of(name: str) -> HealthGroup:
    """Numbers that only newer nodes tell."""
    news: dict[str, HealthGroup] = {
        "read_only": "storage", "life_used": "storage", "end_of_life": "storage",
        "connected_share": "link",
    }  # fmt: skip
    known = {key: group for group, numbers in _USUAL.items() for key in numbers}
    return (known | news)[name]


def well(number: int, area: str = "North", first: int = 100) -> list[Stop]:
    """Neighbours that work."""
    return [Stop(f"city/stop-{first + one}", area).usual() for one in range(number)]


def found(engine: Engine, stops: Sequence[Stop], *, now: int = NOW, shuffle: int | None = None) -> tuple[Visit, ...]:
    """Store what the stops say, in the order of its coming or in another one, and list the visits."""
    for part in _batches(sorted((one for stop in stops for one in stop.messages), key=lambda one: one.received)):
        if shuffle is not None:
            # The collector's clock rises with the order in which messages come: here they come at once.
            at = part[-1].received
            part[:] = [replace(one, received=at) for one in part]
            random.Random(shuffle).shuffle(part)
        with engine.begin() as connection:
            write(connection, "one", part)
    with engine.connect() as connection:
        return visits(connection, now)


def _batches(messages: Sequence[Taken | Cleared]) -> Iterator[list[Taken | Cleared]]:
    """As they would come: those of half an hour together, and wills apart from what was said before."""
    for _, some in itertools.groupby(messages, lambda one: one.received // (30 * MINUTE)):
        for _, part in itertools.groupby(some, lambda one: isinstance(one, Taken) and one.message.body == LOST):
            yield list(part)


def cause_of(engine: Engine, *stops: Stop, now: int = NOW) -> str:
    """The cause of the first stop, "" if it needs nothing; six neighbours elsewhere and five here work."""
    all_ = [*stops, *well(5), *well(6, "South", 200)]
    causes = {one.node: one.cause for one in found(engine, all_, now=now)}
    assert causes.keys() <= {one.name for one in stops}
    return causes.get(stops[0].name, "")
