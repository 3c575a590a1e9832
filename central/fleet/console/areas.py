"""The fleet without a map: areas with their stops as tiles, the worst first, and no more tiles than a page can show."""

from __future__ import annotations

from collections import Counter, defaultdict

from msgspec import Struct

from central.fleet.console.snapshot import Snapshot, Stop

STATES = ("lost", "blind", "degraded", "unknown", "starting", "stopping", "setup", "off", "ready")
"""The worst first."""
_MOST_TILES, _LEAST_EACH = 600, 8
_MOST_AREAS = 60
PAGE = 200
"""Stops on a page of one area."""


class Area(Struct, frozen=True):
    """name: "" for nodes that told none; counts: state and number, the worst first; tiles: the worst stops; more: not shown."""

    name: str
    total: int
    calls: int
    counts: tuple[tuple[str, int], ...]
    tiles: tuple[Stop, ...]
    more: int


def areas(snapshot: Snapshot) -> tuple[Area, ...]:
    """All areas, those with calls and trouble first."""
    by_area: dict[str, list[Stop]] = defaultdict(list)
    for stop in snapshot.stops.values():
        by_area[stop.area].append(stop)
    waiting = Counter(call.area for call in snapshot.calls if call.state == "waiting")
    each = max(_LEAST_EACH, _MOST_TILES // max(1, len(by_area)))
    found = [_area(name, stops, waiting[name], each) for name, stops in by_area.items()]
    return tuple(sorted(found, key=lambda area: (-area.calls, -_troubled(area), area.name)))[:_MOST_AREAS]


def of_area(snapshot: Snapshot, name: str) -> list[Stop]:
    return sorted((stop for stop in snapshot.stops.values() if stop.area == name), key=_order)


def _area(name: str, stops: list[Stop], calls: int, each: int) -> Area:
    counts = Counter(stop.state for stop in stops)
    known = tuple((state, counts[state]) for state in STATES if counts[state])
    tiles = sorted(stops, key=_order)[:each]
    return Area(name, len(stops), calls, known, tuple(tiles), len(stops) - len(tiles))


def _troubled(area: Area) -> int:
    return sum(number for state, number in area.counts if state in ("lost", "blind", "degraded"))


def _order(stop: Stop) -> tuple[int, str, str]:
    return (STATES.index(stop.state) if stop.state in STATES else 0, stop.name, stop.node)
