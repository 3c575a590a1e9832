"""What a place looks like when nobody is there: a running mean and deviation a pixel (Wren et al., Pfinder, 1997).

Kept on a small luma picture, judged after the whole picture's brightness was matched. Who may teach it is decided by
`privacy.masking.background.gate`.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from privacy.masking.background.samples import LEVELS, SHARE, TILE, rows_of, whole_tiles
from privacy.masking.frames import Plane
from privacy.masking.light import small_size
from privacy.masking.tiles import Grid, pixels_of

Picture = npt.NDArray[np.float32]
"""(rows, columns) of the small picture: luma, or a deviation in steps of luma."""
LONG_SIDE: Final = 192
MEMORY_S: Final = 60.0
"""Of the mean, where the picture itself may teach it."""
NOISE: Final = 3.0
LEAST, MOST = 1.0, 8.0
_DEVIATIONS: Final = 3.5
_TO_DEVIATION: Final = np.float32(1.25)
"""From mean to standard deviation, nearly."""
# A head or a leg may look like the wall behind it: parts are joined upwards.
_JOIN: Final = np.ones((7, 3), np.uint8)


def small_shape(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of the small picture of frames of that size."""
    return small_size(width, height, LONG_SIDE)


class Place:
    """The background of one picture size. mean: the first picture, of which nothing is believed yet, or what was learned."""

    def __init__(self, mean: Picture, deviation: Picture | None = None) -> None:
        self.mean = mean.copy()
        self.deviation = np.full(mean.shape, NOISE, np.float32) if deviation is None else deviation
        self.gain = np.float32(1.0)
        """How much brighter the place is now than in the background."""

    def foreground(self, now: Picture, seen: Grid) -> npt.NDArray[np.uint8]:
        """(rows, columns): 1 where a seen tile differs from the background."""
        known = pixels_of(seen, TILE, now.shape)
        self.gain = self._brightness(now, known)
        expected = self.mean * self.gain
        self._off = np.abs(now - expected)
        bound = np.maximum(np.maximum(np.float32(SHARE) * expected, LEVELS), _DEVIATIONS * self.deviation)
        found = ((self._off > bound) & known).astype(np.uint8)
        return np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, _JOIN), np.uint8)

    def _brightness(self, now: Picture, known: npt.NDArray[np.bool_]) -> np.float32:
        """The median of ratios, where the place was seen."""
        sample = known[::3, ::3]
        if sample.sum() < 50:
            return np.float32(1.0)
        ratio = now[::3, ::3][sample] / np.maximum(self.mean[::3, ::3][sample], 1.0)
        return np.float32(np.clip(np.median(ratio), 0.25, 4.0))

    def matched(self, picture: Picture) -> Plane:
        """The picture at the background's brightness, in whole steps."""
        return np.asarray(np.clip(picture / self.gain + np.float32(0.5), 0, 255), np.uint8)

    def look(self, band: slice) -> Plane:
        """The background in these rows of tiles, in whole steps, of whole tiles."""
        return whole_tiles(self.mean[rows_of(band)].clip(0, 255).astype(np.uint8))

    def adapt(self, now: Picture, passed_s: float, where: Grid) -> None:
        """Towards the picture that `foreground` judged last, in the tiles `where`."""
        weight = pixels_of(where, TILE, now.shape) * np.float32(min(1.0, passed_s / MEMORY_S))
        self.mean += (now / self.gain - self.mean) * weight
        spread = np.minimum(self._off * _TO_DEVIATION, 2 * MOST)
        self.deviation += (spread - self.deviation) * weight
        np.clip(self.deviation, LEAST, MOST, out=self.deviation)

    def follow(self, look: Plane, share: float, where: Grid, band: slice) -> None:
        """Some of the way towards a look at the background's brightness, in tiles `where` of the rows `band`; pixels that are
        foreground in it stay. look: of whole tiles of those rows."""
        rows = rows_of(band)
        mean = self.mean[rows]
        way = look[: mean.shape[0], : mean.shape[1]] - mean
        near = np.abs(way) <= np.maximum(np.float32(SHARE) * mean, LEVELS)
        mean += way * (pixels_of(where, TILE, mean.shape) & near) * np.float32(share)

    def restart(self, look: Picture | Plane, where: Grid, band: slice) -> None:
        """Begin anew with a look at the background's brightness, in tiles `where` of the rows `band`. look: of those rows."""
        rows = rows_of(band)
        mean = self.mean[rows]
        pixels = pixels_of(where, TILE, mean.shape)
        mean[pixels] = look[: mean.shape[0], : mean.shape[1]][pixels]
        self.deviation[rows][pixels] = NOISE
