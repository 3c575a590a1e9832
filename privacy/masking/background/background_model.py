"""The background model: what the scene looks like without people, as a running mean and deviation per pixel (Wren et al.,
Pfinder, 1997).

It uses a small luma picture and matches the brightness of the whole picture before it compares. What may be learned is decided
by `privacy.masking.background.gate`.
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
"""Time constant of the mean where the model learns from the picture itself, seconds."""
NOISE: Final = 3.0
LEAST, MOST = 1.0, 8.0
_DEVIATIONS: Final = 3.5
_TO_DEVIATION: Final = np.float32(1.25)
"""Approximate factor from mean absolute to standard deviation."""
# A part of a person, such as a head or a leg, may look like the wall behind it: foreground is joined vertically.
_JOIN: Final = np.ones((7, 3), np.uint8)


def small_shape(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of the small picture of frames of that size."""
    return small_size(width, height, LONG_SIDE)


class BackgroundModel:
    """The background for pictures of one size. mean: a learned background, or the first picture, which does not count as seen."""

    def __init__(self, mean: Picture, deviation: Picture | None = None) -> None:
        self.mean = mean.copy()
        self.deviation = np.full(mean.shape, NOISE, np.float32) if deviation is None else deviation
        self.gain = np.float32(1.0)
        """Brightness of the present picture relative to the background."""

    def foreground(self, now: Picture, seen: Grid) -> npt.NDArray[np.uint8]:
        """(rows, columns): 1 where the picture differs from the background, in tiles that were seen without people."""
        known = pixels_of(seen, TILE, now.shape)
        self.gain = self._brightness(now, known)
        expected = self.mean * self.gain
        self._off = np.abs(now - expected)
        bound = np.maximum(np.maximum(np.float32(SHARE) * expected, LEVELS), _DEVIATIONS * self.deviation)
        found = ((self._off > bound) & known).astype(np.uint8)
        return np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, _JOIN), np.uint8)

    def _brightness(self, now: Picture, known: npt.NDArray[np.bool_]) -> np.float32:
        """Brightness relative to the background: the median ratio over the tiles that were seen."""
        sample = known[::3, ::3]
        if sample.sum() < 50:
            return np.float32(1.0)
        ratio = now[::3, ::3][sample] / np.maximum(self.mean[::3, ::3][sample], 1.0)
        return np.float32(np.clip(np.median(ratio), 0.25, 4.0))

    def matched(self, picture: Picture) -> Plane:
        """The picture scaled to the background's brightness, as uint8."""
        return np.asarray(np.clip(picture / self.gain + np.float32(0.5), 0, 255), np.uint8)

    def look(self, band: slice) -> Plane:
        """The background in these rows of tiles, as uint8, padded to whole tiles."""
        return whole_tiles(self.mean[rows_of(band)].clip(0, 255).astype(np.uint8))

    def adapt(self, now: Picture, passed_s: float, where: Grid) -> None:
        """Move the model towards the picture that `foreground` got last, in the tiles `where`. passed_s: seconds since then."""
        weight = pixels_of(where, TILE, now.shape) * np.float32(min(1.0, passed_s / MEMORY_S))
        self.mean += (now / self.gain - self.mean) * weight
        spread = np.minimum(self._off * _TO_DEVIATION, 2 * MOST)
        self.deviation += (spread - self.deviation) * weight
        np.clip(self.deviation, LEAST, MOST, out=self.deviation)

    def follow(self, look: Plane, share: float, where: Grid, band: slice) -> None:
        """Move the mean by `share` towards `look` in the tiles `where` of the rows `band`. Pixels that differ too much are kept.

        look   those rows of tiles at the background's brightness, padded to whole tiles
        """
        rows = rows_of(band)
        mean = self.mean[rows]
        way = look[: mean.shape[0], : mean.shape[1]] - mean
        near = np.abs(way) <= np.maximum(np.float32(SHARE) * mean, LEVELS)
        mean += way * (pixels_of(where, TILE, mean.shape) & near) * np.float32(share)

    def restart(self, look: Picture | Plane, where: Grid, band: slice) -> None:
        """Replace the model by `look` in the tiles `where` of the rows `band`. look: those rows at the background's brightness."""
        rows = rows_of(band)
        mean = self.mean[rows]
        pixels = pixels_of(where, TILE, mean.shape)
        mean[pixels] = look[: mean.shape[0], : mean.shape[1]][pixels]
        self.deviation[rows][pixels] = NOISE
