"""What is known of one node that may need care: frozen facts, from which `infer` decides. Times in milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from msgspec import Struct

from agent.envelope import ClockState
from agent.messages import Body
from central.fleet.collect.alarms import DAY_MS, HOUR_MS, LOST_MS, MINUTE_MS

__all__ = [
    "DAY_MS",
    "FLEET_SHARE",
    "HOUR_MS",
    "LASTING_MS",
    "MINUTE_MS",
    "Evidence",
    "Finding",
    "Point",
    "Silence",
    "Standing",
    "Word",
]
LASTING_MS = LOST_MS
"""A state that is over within five minutes is no fault: the collector counts a node as lost from then, a camera restarts within one
minute, and a stop's lamp is bright again after a loss of power."""
FLEET_SHARE = 0.5
"""When half of all nodes have the same at once, it is the centre, its broker, its network or a time server."""


class Word(Struct, frozen=True):
    """A message of the node. at_ms: the node's time if that was trusted, else the centre's; boot: of the machine; late: told after
    an outage."""

    at_ms: int
    boot: str
    clock: ClockState
    late: bool
    body: Body


class Point(Struct, frozen=True):
    """A number of a health message, and when it was so."""

    at_ms: int
    value: float


class Standing(Struct, frozen=True):
    """An alarm that stands."""

    name: str
    reason: str
    raised_ms: int


class Silence(Struct, frozen=True):
    """Of a node that is not heard.

    since_ms     when its will came, else its last message
    together     other nodes of its area that fell silent within `groups.TOGETHER_MS` of it; told_link: of them and itself, how
                 many told of a bad link in the day before
    fleet_share  0..1, of all nodes that were heard until then
    """

    since_ms: int
    together: int
    told_link: int
    fleet_share: float


class Evidence(Struct, frozen=True):
    """All facts of one node.

    state, reason, owner   as it told them last, since when; services: state of each
    silence                None for a node that is heard
    words                  its states, events and reports of a week before it was last heard, oldest first; a bounded number
    series                 numbers of health of the last day before that, oldest first; the last one is the latest known
    certificate_end_ms     of TLS; conflicts: messages of the last day with a number that was used
    late                   reports of health of the last day that came late: the node had power and no link
    untested_days          days since the help test last came, 0 without a help button
    rescued_together       nodes of the same area whose link rescue acted within half an hour of this one's
    neighbour_temperature  median of the area's other nodes, None of fewer than two
    """

    node: str
    stop: str
    area: str
    now_ms: int
    heard_ms: int
    state: str
    reason: str
    owner: str
    since_ms: int
    until_ms: int | None = None
    services: Mapping[str, str] = {}
    silence: Silence | None = None
    words: tuple[Word, ...] = ()
    alarms: tuple[Standing, ...] = ()
    series: Mapping[str, tuple[Point, ...]] = {}
    sensors: tuple[str, ...] = ()
    breaks: Mapping[str, int] = {}
    certificate_end_ms: int | None = None
    conflicts: int = 0
    late: int = 0
    untested_days: int = 0
    rescued_together: int = 0
    neighbour_temperature: float | None = None

    def latest(self, name: str) -> float | None:
        """The latest value of a number, None if it was never told."""
        points = self.series.get(name, ())
        return points[-1].value if points else None

    def grown(self, *names: str) -> int:
        """By how much counters grew in the last day; a counter that fell has begun anew. 0 with fewer than two points."""
        return sum(_grown(self.series.get(name, ())) for name in names)

    def alarm(self, name: str) -> Standing | None:
        return next((one for one in self.alarms if one.name == name), None)

    def recent(self, within_ms: int = DAY_MS) -> Iterable[Word]:
        """Words of the time before the node was last heard."""
        return (one for one in self.words if one.at_ms > self.heard_ms - within_ms)


class Finding(Struct, frozen=True):
    """A cause that the evidence points to, or "unknown" for trouble without one. reasons: as in `Visit`."""

    cause: str
    reasons: tuple[str, ...]
    since_ms: int


def _grown(points: tuple[Point, ...]) -> int:
    pairs = pairwise(points)
    return round(sum(after.value - before.value if after.value >= before.value else after.value for before, after in pairs))
