"""Rectangles to be painted, at even pixels inside the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privacy.masking.detection import Kind
from privacy.masking.mask_record import Part

# Margins of a mask as shares of the box's width and height, at each side: for hair, bags, feet and the detector's error.
GROWTH: dict[Kind, tuple[float, float]] = {"person": (0.20, 0.15), "face": (0.6, 0.6), "vehicle": (0.05, 0.05)}


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle inside the picture, pixels; its corners are even because the chroma planes have half the size."""

    part: Part
    left: int
    top: int
    right: int
    bottom: int


def enclose(part: Part, corners: tuple[float, float, float, float], width: int, height: int) -> Region:
    """The smallest region that covers the part of a rectangle (left, top, right, bottom) that lies in the picture."""
    left, top, right, bottom = corners
    return Region(part, down(left, width), down(top, height), up(right, width), up(bottom, height))


def down(value: float, limit: int) -> int:
    """The even pixel at or before a coordinate, limited to 0..limit."""
    return min(max(math.floor(value / 2) * 2, 0), limit)


def up(value: float, limit: int) -> int:
    """The even pixel at or after a coordinate, limited to 0..limit."""
    return min(max(math.ceil(value / 2) * 2, 0), limit)
