"""Finds mistakes in a record before it is signed: contradictions, and example texts that nobody replaced.

Pure: takes the record and the time, returns objections. Some forbid signing; the signer may confirm the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from privacy.masking.networks.models import STACKS
from privacy.records.basis import Basis, View
from privacy.records.far_zone import FarLine
from privacy.records.order import Order

PLACEHOLDERS = ("example, not an assessment", "example stop", "who decided")
"""Texts of the examples that must be replaced before signing."""
_GRID = 40
_NEEDED = ("assessment", "controller", "decided", "case")
_WHOLE = 0.95
"""From this share on, a view counts as the whole picture: a corner left out makes no difference."""
Point = tuple[float, float]


class Objection(Struct, frozen=True):
    """text: field, rule and value; hint: what to do; confirmable: whether the signer may confirm that it is intended."""

    text: str
    hint: str
    confirmable: bool


def review(name: str, record: Any, now: datetime) -> list[Objection]:
    """Objections to a basis, a view or an order; there are none to settings. name: the record's kind; now: with time zone."""
    found = list(_unfilled(name, record))
    if isinstance(record, Basis):
        found += [*_dates(name, record, now), *_never_open(name, record)]
    if isinstance(record, Order):
        found += _expired(f"{name}: until", record.until, now)
    return found + _shown_area(name, record) if isinstance(record, View) else found


def _shown_area(name: str, view: View) -> list[Objection]:
    share = shown_share([area.polygon for area in view.areas], view.zones, view.far)
    got = f"(got {share:.0%} by {len(view.areas)} areas and {len(view.zones)} zones)"
    if share >= _WHOLE:
        return [Objection(f"{name}: areas: the whole picture may be shown {got}", "draw the stop alone", True)]
    return [] if share else [Objection(f"{name}: areas: nothing is shown {got}", "draw the stop", True)]


def _never_open(name: str, basis: Basis) -> Iterator[Objection]:
    """A basis with which the camera is never opened: no hours, or no known networks."""
    if not any(hours.days for hours in basis.hours):
        yield Objection(f"{name}: hours: no day is named, so the lens never opens (got none)", "write the assessed hours", True)
    known = [stack.name for stack in STACKS]
    unknown = [stack for stack in basis.stacks if stack not in known]
    if unknown or not basis.stacks:
        text = f"{name}: stacks: must be known ones (got {', '.join(unknown) or 'none'})"
        yield Objection(text, f"known: {', '.join(known)}", True)


def _unfilled(name: str, record: Any) -> Iterator[Objection]:
    for field in record.__struct_fields__:
        value = getattr(record, field)
        if isinstance(value, str) and (value.strip().casefold() in PLACEHOLDERS or value.strip().casefold().startswith("example")):
            yield Objection(f"{name}: {field}: is the example's (got {value!r})", "write what was decided", False)
        if field in _NEEDED and not value.strip():
            yield Objection(f"{name}: {field}: must not be empty (got {value!r})", "write what was decided", False)


def _dates(name: str, basis: Basis, now: datetime) -> list[Objection]:
    if basis.end <= basis.begin:
        text = f"{name}: end: must be after begin, {_minute(basis.begin)} (got {_minute(basis.end)})"
        return [Objection(text, "correct the file", False)]
    return _expired(f"{name}: end", basis.end, now)


def _expired(field: str, end: datetime, now: datetime) -> list[Objection]:
    return [Objection(f"{field}: is over already (got {_minute(end)})", "name a later one", True)] if end <= now else []


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M %Z}"


def shown_share(
    polygons: Sequence[Sequence[Point]], zones: Sequence[Sequence[Point]] = (), far: FarLine | UnsetType = UNSET
) -> float:
    """The share of the picture, 0..1, inside any of the polygons, in no zone and below the far line. Corners: 0..1."""
    points = [((x + 0.5) / _GRID, (y + 0.5) / _GRID) for x in range(_GRID) for y in range(_GRID)]
    near = [(x, y) for x, y in points if far is UNSET or y >= far.at(x)]
    return sum(_in_any(point, polygons) and not _in_any(point, zones) for point in near) / len(points)


def _in_any(point: Point, polygons: Sequence[Sequence[Point]]) -> bool:
    return any(_inside(point, polygon) for polygon in polygons)


def _inside(point: Point, polygon: Sequence[Point]) -> bool:
    """Whether a point is in a polygon, by the even-odd rule: a ray to the right crosses an odd number of edges."""
    x, y = point
    edges = zip(polygon, [*polygon[1:], polygon[0]], strict=True)
    return sum((y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1) for (x1, y1), (x2, y2) in edges) % 2 == 1
