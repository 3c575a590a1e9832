"""The gate between looks: what a frame shows and the looks around it do not is masked, whoever it is (R45).

A detector sees a picture every 0.3 s or less often; who comes and goes between two looks stands in neither of them, and whom
it does not find at all may still move. So each frame is compared, at small size, with the pictures of the looks around it,
tile by tile. A tile is masked, and its neighbours with it,

- if its mean luma differs by `STEPS` or more from the look before *and* from the look after, by construction, for every frame
  between two looks: nobody of two tiles or more who stands there in this frame alone is shown, if they differ by half more than
  that (a tile is the mean of halved pixels, so they may cover seven tenths of one at most);
- if it differs by `USUAL_STEPS` or more from the median of the two looks before and the two after: whoever crosses the place
  is not shown either where one of the looks saw them without finding them.

Nothing is matched or smoothed first, so that nothing can be explained away: wind and a shaking camera make the picture darker.
Both bounds are in luma steps of a tile's mean. The median over time as a picture of the empty place is common (Cucchiara et al.,
IEEE TPAMI 25(10), 2003); figures and what else was tried: docs/decisions/0051-between-looks.md.
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
    """(rows, columns): the mean luma of each tile of a frame, `SIDE` tiles along its long side."""
    return small_luma(frame, SIDE)


@dataclass(frozen=True, slots=True)
class Around:
    """What the looks around a span of frames saw, each (rows, columns) of one shape: mean luma by tile.

    before, after   the looks at the span's begin and end
    usual           the median of the looks around: of two before and two after as far as they are known; None if that is less
                    than three
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
        """The same as rectangles of a picture of that size."""
        rows, columns = tiles.shape
        return rectangles("change", self.changed(tiles), (width / columns, height / rows), width, height)


def usual(looks: Sequence[Plane]) -> Plane | None:
    """The median of three or four pictures, tile by tile; None of fewer. Of four it is the mean of the middle two, rounded down."""
    if len(looks) < 3:
        return None
    return np.asarray(np.median(np.stack(looks), axis=0), np.uint8)
