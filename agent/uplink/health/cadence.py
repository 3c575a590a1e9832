"""When a health group is sent: soon if something changed significantly, else every five minutes. Pure: facts in, decision out."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from agent.messages import Health, HealthGroup
from agent.runtime.routes import Route
from agent.uplink.health.groups import Groups

LOOK_S = 15.0
"""Time between two looks at the values."""
LEAST_S = 60.0
"""A group is sent at most once in this time, however often its values change."""
EVERY_S = 300.0
_ALIVE: HealthGroup = "clock"
"""This group is sent each minute while the time is not trusted: a command names the node's own time, which the centre can then
take from a new message only."""


class Sent(Struct, frozen=True):
    """What was sent last of a group, and when (monotonic seconds)."""

    at_s: float
    message: Health


def due(groups: Groups, sent: Mapping[HealthGroup, Sent], now_s: float, all_s: float) -> list[HealthGroup]:
    """The groups to send now. all_s: when all groups were sent together last."""
    if now_s - all_s >= EVERY_S or not sent:
        return list(groups)
    return [name for name, group in groups.items() if _due(name, group.routes, group.message(name), sent.get(name), now_s)]


def _due(name: HealthGroup, routes: Mapping[str, Route], now: Health, before: Sent | None, now_s: float) -> bool:
    if before is None:
        return True
    if now_s - before.at_s < LEAST_S:
        return False
    untrusted = name == _ALIVE and not now.values.get("trusted")
    return untrusted or any(significant(route, key, before.message, now) for key, route in routes.items())


def significant(route: Route, name: str, before: Health, now: Health) -> bool:
    """Whether one value differs so much from what was sent that it makes a message."""
    if route.change is None and route.factor is None:
        return False
    old, new = before.values.get(name), now.values.get(name)
    if before.words.get(name) != now.words.get(name) or (old is None) != (new is None):
        return True
    if old is None or new is None:
        return False
    if route.change is not None:
        return abs(new - old) >= route.change
    low, high = sorted((abs(old), abs(new)))
    return route.factor is not None and high >= route.factor * max(low, 1.0)
