"""The far zone: the part of the picture where people may be too small to be detected is always masked (R46)."""

from __future__ import annotations

import math
from typing import Annotated, Final

from msgspec import Meta, Struct

LEAST: Final = 48
"""The smallest height of a person that the networks reliably detect, in pixels of their analysis picture.

Source: docs/MASKING.md. In one clip of adults 24 are enough (`make evaluate-far`); with other cameras people up to 46 were missed.
"""
CHILD_M: Final = 1.0
"""The height of the smallest person for whom the line is drawn, metres."""
Down = Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": 1})]


class FarLine(Struct, frozen=True, forbid_unknown_fields=True):
    """A straight line across the picture; everything above it is masked.

    It is drawn on the ground, so that a person who stands beyond it is above it from head to foot.

    left, right   its position at the left and the right edge, 0..1 of the height from the top; 0 masks nothing, 1 everything
    """

    left: Down
    right: Down

    def __post_init__(self) -> None:
        for name, value in (("left", self.left), ("right", self.right)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: must be 0 to 1 of the height, from the top (got {value})")

    def at(self, x: float) -> float:
        """The position of the line at x: 0..1 of the height from the top, for 0..1 of the width."""
        return self.left + (self.right - self.left) * x


def least_height(width: int, height: int, long_side: int) -> int:
    """The smallest height of a person, in pixels of a picture of that size. long_side: of the analysis picture, pixels."""
    return math.ceil(LEAST * max(width, height) / long_side)
