"""Reads a file of faults: what each does to a node's messages. The format is described in README.md."""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from agent.envelope import ClockState
from agent.messages import Body, HealthGroup, Owner, StateName

Number = float | int
Hours = Annotated[float, Meta(ge=0)]
UNKNOWN = "unknown"
_TOGETHER_H = 0.01


class Effect(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """after_hours: since the fault began at this node; for_hours: so long, 0 until the end."""

    after_hours: Hours = 0.0
    for_hours: Hours = 0.0


class Silence(Effect, frozen=True, tag="silence"):
    """Messages on these topics (with * and ?) are not made."""

    topics: tuple[str, ...]


class Link(Effect, frozen=True, tag="link"):
    """Nothing comes, and the broker publishes the will. kept: what is said meanwhile comes late, at the end; else nothing is said
    (no power), and the end is a boot."""

    kept: bool


class Drift(Effect, frozen=True, tag="drift"):
    """A number of a health group moves from `begin` (None: as it was) to `to` within over_hours, and stays there."""

    group: HealthGroup
    value: str
    to: Number
    begin: Number | None = None
    over_hours: Hours = 0.0


class Rate(Effect, frozen=True, tag="rate"):
    """A counter of a health group grows by so much an hour instead of its usual rate."""

    group: HealthGroup
    value: str
    per_hour: Number


class Unreadable(Effect, frozen=True, tag="unreadable"):
    """A number is null, with the reason."""

    group: HealthGroup
    value: str
    reason: str


class Standing(Effect, frozen=True, tag="state"):
    """The node says this state while the effect lasts, then `ready` again. every_hours: again and again, for `minutes` each."""

    state: StateName
    reason: str
    owner: Owner = "technician"
    every_hours: Hours = 0.0
    minutes: Hours = 10.0


class Said(Effect, frozen=True, tag="event"):
    """A message, as in docs/mqtt; its times are filled in. every_hours: again and again, 0 once."""

    body: dict[str, Any]
    every_hours: Hours = 0.0


class Raised(Effect, frozen=True, tag="alarm"):
    """An alarm stands, and is cleared at the end."""

    name: str
    reason: str


class Described(Effect, frozen=True, tag="describe"):
    """The description says of a certificate or record that it ends so many hours after the fault's begin."""

    certificate: str = ""
    record: str = ""
    ends_hours: float = 0.0


class WrongClock(Effect, frozen=True, tag="clock"):
    """The node's time is off by so much, and what it thinks of it."""

    trust: ClockState
    step_hours: float = 0.0


class Boots(Effect, frozen=True, tag="boots"):
    """The node begins anew, each time with another boot id."""

    every_hours: Annotated[float, Meta(gt=0)]


class Twin(Effect, frozen=True, tag="twin"):
    """A second node with the same card sends other messages under the same numbers."""


Any_ = Silence | Link | Drift | Rate | Unreadable | Standing | Said | Raised | Described | WrongClock | Boots | Twin


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """expected: the cause by which it is judged, `unknown` for one that cannot be known. together: neighbours at one time."""

    name: str
    expected: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
    nodes: Annotated[int, Meta(ge=1)]
    effects: tuple[Any_, ...]
    at_hours: Hours
    together: bool = False
    spread_hours: Hours = 0.0


class Counter(Struct, frozen=True, forbid_unknown_fields=True):
    group: HealthGroup
    value: str
    per_hour: Number


class Scene(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file. calm: further numbers of healthy nodes, by group; counters: those that grow."""

    v: Annotated[int, Meta(ge=1, le=1)]
    nodes: Annotated[int, Meta(ge=1, le=100_000)]
    hours: Annotated[float, Meta(gt=0)]
    fault: tuple[Fault, ...]
    health_minutes: Annotated[float, Meta(gt=0)] = 30.0
    presences_a_day: Annotated[float, Meta(ge=0)] = 24.0
    area_nodes: Annotated[int, Meta(ge=1)] = 20
    noise: Annotated[float, Meta(ge=0, le=1)] = 0.03
    calm: dict[HealthGroup, dict[str, Number]] = {}
    counters: tuple[Counter, ...] = ()


@dataclass(frozen=True)
class Struck:
    """A fault at one node. at_hours: of simulated time."""

    fault: Fault
    at_hours: float


def load(path: Path) -> Scene:
    """`ValueError` for a file that is not of this format, or strikes more nodes than there are."""
    scene = msgspec.convert(tomllib.loads(path.read_text()), Scene)
    if sum(one.nodes for one in scene.fault) > scene.nodes:
        raise ValueError(f"{path}: nodes: the faults strike more than the {scene.nodes} that there are")
    for effect in (one for fault in scene.fault for one in fault.effects if isinstance(one, Said)):
        msgspec.convert({**effect.body, **_times(effect.body, "2026-01-01T00:00:00Z")}, Body)
    return scene


def body_of(effect: Said, now: str) -> Body:
    """The message, with `now` as each of its times."""
    return msgspec.convert({**effect.body, **_times(effect.body, now)}, Body)  # type: ignore[no-any-return]


def strike(scene: Scene, seed: int) -> dict[int, Struck]:
    """Which node has which fault: each node one at most, neighbours (consecutive numbers) where they are struck together."""
    rng, free = random.Random(seed), set(range(scene.nodes))
    found: dict[int, Struck] = {}
    for fault in sorted(scene.fault, key=lambda one: not one.together):
        chosen = _neighbours(free, fault.nodes, scene.area_nodes, rng) if fault.together else rng.sample(sorted(free), fault.nodes)
        at, spread = fault.at_hours, fault.spread_hours
        if fault.together:
            at, spread = at + rng.uniform(0, spread), _TOGETHER_H
        found |= {node: Struck(fault, at + rng.uniform(0, spread)) for node in chosen}
        free -= set(chosen)
    return found


def _neighbours(free: set[int], many: int, area: int, rng: random.Random) -> list[int]:
    """Consecutive free numbers that begin at an area's first."""
    firsts = [at for at in sorted(free) if at % area == 0 and all(at + step in free for step in range(many))]
    if not firsts:
        raise ValueError(f"no {many} neighbours are free: fewer faults that strike together, or more nodes")
    first = rng.choice(firsts)
    return list(range(first, first + many))


def _times(body: dict[str, Any], now: str) -> dict[str, str]:
    return {"seen": now} if body.get("type") in ("presence", "tamper", "breach") else {}
