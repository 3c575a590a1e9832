"""The far zone: where people may be too small to be found, nothing is shown (R46). Its line, and how small is too small."""

from __future__ import annotations

import math
from typing import Annotated, Final

from msgspec import Meta, Struct

LEAST: Final = 48
"""The smallest height of a person that the networks are shown to find, in pixels of their picture.

Source: docs/MASKING.md. On one clip of adults 24 are enough (`make evaluate-far`); on other cameras people of up to 46 were missed.
"""
CHILD_M: Final = 1.0
"""The smallest person that the line is drawn for, in metres."""
Down = Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": 1})]


class FarLine(Struct, frozen=True, forbid_unknown_fields=True):
    """A straight line across the picture; what lies above it is never shown.

    It is drawn across the ground: whoever stands beyond it is above it, from head to foot.

    left, right   where it meets these edges, 0..1 of the height from the top: 0 masks nothing, 1 everything
    """

    left: Down
    right: Down

    def __post_init__(self) -> None:
        for name, value in (("left", self.left), ("right", self.right)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: must be 0 to 1 of the height, from the top (got {value})")

    def at(self, x: float) -> float:
        """How far down the line is at x, both in 0..1."""
        return self.left + (self.right - self.left) * x


def least_height(width: int, height: int, long_side: int) -> int:
    """The smallest height of a person in a picture of that size, pixels. long_side: of the network's picture."""
    return math.ceil(LEAST * max(width, height) / long_side)
