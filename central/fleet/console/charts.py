"""Small charts of health numbers as SVG paths. Pure: numbers in, text out; a page needs no script to show them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

WIDTH, HEIGHT = 240, 48
_EDGE = 3
_GAP_MS = 1_200_000
"""A longer silence is a gap in the line: groups are sent every five minutes."""
Point = tuple[int, float]


class Chart(Struct, frozen=True):
    """path: of an SVG of `WIDTH` by `HEIGHT`; least, most, last: of the numbers; begin_ms, end_ms: of the time shown."""

    name: str
    path: str
    least: float
    most: float
    last: float
    begin_ms: int
    end_ms: int


def chart(name: str, points: Sequence[Point], begin_ms: int, end_ms: int) -> Chart | None:
    """points: time in ms and value, in order of time; None for none."""
    if not points:
        return None
    least, most = min(value for _, value in points), max(value for _, value in points)
    return Chart(name, _path(points, least, most, begin_ms, end_ms), least, most, points[-1][1], begin_ms, end_ms)


def _path(points: Sequence[Point], least: float, most: float, begin_ms: int, end_ms: int) -> str:
    """A line with a new beginning after each gap; one point alone is a short dash."""
    words, last = [], None
    for at, value in points:
        x = _EDGE + (WIDTH - 2 * _EDGE) * (at - begin_ms) / max(1, end_ms - begin_ms)
        y = HEIGHT - _EDGE - (HEIGHT - 2 * _EDGE) * ((value - least) / (most - least) if most > least else 0.5)
        joined = last is not None and at - last <= _GAP_MS
        words.append(f"L{x:.1f} {y:.1f}" if joined else f"M{x:.1f} {y:.1f}h1")
        last = at
    return "".join(words)
