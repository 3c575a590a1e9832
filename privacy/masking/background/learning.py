"""Decides what may be learned as background where people pass: the appearance of a tile while nobody is detected there, unless it
may be that of a person.

A person who stands still also looks the same all the time, and a detector misses people now and then: what a tile shows while
nobody is detected may be that person. Two tests for each tile tell such a person from the background:

- While a standing person is detected, the picture in the middle of the box stays as it was seconds before (`Stillness`). What a
  tile showed then is not accepted as background (`TileEvidence.doubted`). Behind passers-by the picture changes.
- While a tile shows a standing person, a person is detected there for much of the time (`TileEvidence.covered`).

Times decay with `_FADE_S`, so that a crowd in the morning does not count at noon. All grids are (rows, columns) of tiles.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from privacy.masking.background.samples import TILE, Counts, Samples, unlike
from privacy.masking.frames import Plane
from privacy.masking.tiles import Grid
from privacy.masking.tracking import SECOND

Seconds = npt.NDArray[np.float32]
SAMPLES: Final = 9
"""Samples of a tile that must be present; odd, so that the median is one of them."""
_AGREEING: Final = 7
_FREE_APART_NS: Final = 4 * SECOND
_FOUND_APART_NS: Final = SECOND
_SAME: Final = 0.25
_FADE_S: Final = 180.0
_BANDS: Final = 8
"""At each run of the detector one eighth of the picture is evaluated, so that no frame is delayed by the whole of it."""
_LONGEST_S: Final = 1.0
_AGES_NS: Final = (2 * SECOND, 4 * SECOND)
_APART_NS: Final = SECOND // 4
_REMEMBERED: Final = 20
"""Pictures in memory, at most four per second: the oldest is 5 s old or more, which is older than any of `_AGES_NS`."""
_FORGET_NS: Final = 600 * SECOND
"""How long samples of a standing person count after the last one was taken."""


@dataclass(frozen=True, slots=True)
class TileEvidence:
    """Evidence for each tile.

    free, near, still   number of samples: without people; under a person's mask; under the mask of a person who stands still
    …_alike             how many of these look like the median of the free ones
    free_s, near_s      seconds without people and under a person's mask, with decay
    """

    free: Counts
    free_alike: Counts
    near: Counts
    near_alike: Counts
    still: Counts
    still_alike: Counts
    free_s: Seconds
    near_s: Seconds

    def doubted(self) -> Grid:
        """Tiles whose free samples look like those under a person who stood still."""
        return (self.still > 0) & (self.still_alike > _SAME * self.still)

    def covered(self) -> Seconds:
        """Share of the time in which a tile looks like its median that a person is detected there; 1 if there is no such time."""
        like = self.near_s * (self.near_alike / np.maximum(1, self.near)).astype(np.float32)
        return np.asarray(np.where(self.free_s > 0, like / np.maximum(like + self.free_s, 1e-6), 1.0), np.float32)

    def proven(self, most: float) -> Grid:
        """Tiles whose median is proven to be background: enough samples agree, no doubt, and people are seldom detected there.

        most   the largest share of time (0..1) for which people may be detected there
        """
        steady = (self.free >= SAMPLES) & (self.free_alike >= _AGREEING)
        return np.asarray(steady & ~self.doubted() & (self.covered() <= most))


@dataclass(frozen=True, slots=True)
class BandEvidence:
    """The evidence for the rows of tiles `band`. median: (4 x rows, 4 x columns) pixels, of the samples without people."""

    band: slice
    median: Plane
    tiles: TileEvidence


class Stillness:
    """Keeps the pictures of the last seconds, to find the tiles that did not change."""

    def __init__(self) -> None:
        self._before: deque[tuple[int, Plane]] = deque(maxlen=_REMEMBERED)

    def note(self, picture: Plane, at_ns: int) -> Grid:
        """Tiles that look as they did two and four seconds ago; none until there are pictures that old."""
        still = np.ones((picture.shape[0] // TILE, picture.shape[1] // TILE), bool)
        for age_ns in _AGES_NS:
            before = next((one for then_ns, one in reversed(self._before) if at_ns - then_ns >= age_ns), None)
            still &= before is not None and ~unlike(picture, before)
        if not self._before or at_ns - self._before[-1][0] >= _APART_NS:
            self._before.append((at_ns, picture))
        return still


class Evidence:
    """Samples of each tile with and without people. shape: (rows, columns) of the small picture, pixels."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._free = Samples(shape, SAMPLES, _FREE_APART_NS)
        self._near = Samples(shape, SAMPLES, _FOUND_APART_NS)
        self._still = Samples(shape, SAMPLES, _FOUND_APART_NS)
        rows, columns = self._free.held.shape
        self._free_s, self._near_s = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
        self._still_ns = np.full((rows, columns), np.iinfo(np.int64).min // 2, np.int64)
        high = -(-rows // _BANDS)
        self._bands = [slice(top, min(rows, top + high)) for top in range(0, rows, high)]
        self._next = 0

    def note(self, picture: Plane, at_ns: int, passed_s: float, free: Grid, near: Grid, still: Grid, unchanged: Grid) -> None:
        """Take samples of one picture.

        picture     padded to whole tiles, at the background's brightness
        passed_s    seconds since the picture before
        free        tiles where nobody is detected and nothing changes
        near        tiles under the mask of a person who was detected in this picture
        still       tiles under the mask of a person who stands still
        unchanged   tiles that look as they did seconds before, so that nobody passes in front
        """
        for samples, where in ((self._free, free), (self._near, near), (self._still, still & unchanged)):
            samples.take(picture, where, at_ns)
        passed = np.float32(min(max(passed_s, 0.0), _LONGEST_S))
        left = np.exp(-passed / np.float32(_FADE_S))
        self._free_s = self._free_s * left + ~near * passed
        self._near_s = self._near_s * left + near * passed
        self._still_ns[still] = at_ns

    def stood(self, at_ns: int) -> Grid:
        """Tiles where a person stood still in the last ten minutes."""
        return np.asarray(at_ns - self._still_ns <= _FORGET_NS)

    def next_band(self, at_ns: int) -> BandEvidence:
        """The evidence for the next rows of tiles, in rotation."""
        band, self._next = self._bands[self._next], (self._next + 1) % len(self._bands)
        median, lately = self._free.median(band), self.stood(at_ns)[band]
        tiles = TileEvidence(
            self._free.held[band], self._free.alike(median, band),
            self._near.held[band], self._near.alike(median, band),
            self._still.held[band] * lately, self._still.alike(median, band) * lately,
            self._free_s[band], self._near_s[band],
        )  # fmt: skip
        return BandEvidence(band, median, tiles)
