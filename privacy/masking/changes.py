"""The gate between looks: masks what a frame shows and the neighbouring looks do not, whatever it is (R45).

A look is a run of the detector on a frame; there is one every 0.3 s at most. A person who comes and goes between two looks is in
neither of them, and a person whom the detector misses may still move. So each frame is compared, at small size and tile by tile,
with the frames of the looks around it. A tile and its neighbours are masked

- if its mean luma differs by `STEPS` or more both from the look before and from the look after. This holds for every frame
  between two looks: a person of two tiles or more who is in this frame only is masked if the difference is half more than
  that (a tile is the mean of halved pixels, so the person may cover no more than seven tenths of one);
- if it differs by `USUAL_STEPS` or more from the median of the two looks before and the two after. This masks a person who
  crosses the scene also where one of the looks shows that person undetected.

The frames are not aligned or smoothed first, so that no difference is lost: wind and camera shake lead to more masking. Both
limits are in luma steps of a tile's mean. The temporal median as a background is a common method (Cucchiara et al., IEEE TPAMI
25(10), 2003). Figures and alternatives: docs/decisions/0051-between-looks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from privacy.masking.frames import Frame, Plane
from privacy.masking.light import small_luma
from privacy.masking.regions import Region
from privacy.masking.tiles import Grid, rectangles

SIDE: Final = 96
"""Tiles along the long side of the picture."""
STEPS: Final = 8
USUAL_STEPS: Final = 14
_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)


def tiles_luma(frame: Frame) -> Plane:
    """(rows, columns): the mean luma of each tile of a frame; there are `SIDE` tiles along its long side."""
    return small_luma(frame, SIDE)


@dataclass(frozen=True, slots=True)
class Around:
    """The looks around a span of frames. Each plane is the mean luma by tile, (rows, columns).

    before, after   the looks at the begin and the end of the span
    usual           the median of two looks before and two after, as far as they are known; None if fewer than three are
    """

    before: Plane
    after: Plane
    usual: Plane | None

    def changed(self, tiles: Plane) -> Grid:
        """The tiles of a frame that must be masked, their neighbours included."""
        changed = np.minimum(cv2.absdiff(tiles, self.before), cv2.absdiff(tiles, self.after)) >= STEPS
        if self.usual is not None:
            changed |= cv2.absdiff(tiles, self.usual) >= USUAL_STEPS
        return np.asarray(cv2.dilate(changed.astype(np.uint8), _NEIGHBOURS), bool)

    def regions(self, tiles: Plane, width: int, height: int) -> tuple[Region, ...]:
        """The same tiles as rectangles in a picture of that size."""
        rows, columns = tiles.shape
        return rectangles("change", self.changed(tiles), (width / columns, height / rows), width, height)


def usual(looks: Sequence[Plane]) -> Plane | None:
    """The median of three or four planes, tile by tile; None if there are fewer. Of four it is the mean of the middle two, rounded
    down."""
    if len(looks) < 3:
        return None
    return np.asarray(np.median(np.stack(looks), axis=0), np.uint8)
