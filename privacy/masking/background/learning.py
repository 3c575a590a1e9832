"""What may be learned of a place where people pass: its look at the moments when nobody covers it, if it is not a person's.

Somebody who stands still looks the same at each moment too, and a detector misses people now and then: what is seen while
nobody is found may be her. She differs from the empty place in two ways, and both are asked of each tile:

- while she is found, the picture in the middle of her box stays as it was seconds before (`Stillness`). What stood there then
  is not taken for the empty place (`Facts.doubted`). Passers-by change what is behind them;
- while the tile looks like that, somebody is found there for much of the time (`Facts.covered`).

Times fade with `_FADE_S`, so that the morning's crowd says nothing about noon. All grids are (rows, columns) of tiles.
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
"""Samples of a tile, all of which must be there; an odd number has a median among them."""
_AGREEING: Final = 7
_FREE_APART_NS: Final = 4 * SECOND
_FOUND_APART_NS: Final = SECOND
_SAME: Final = 0.25
_FADE_S: Final = 180.0
_BANDS: Final = 8
"""Each time an eighth of the picture is weighed: what is spread over eight looks holds no picture up."""
_LONGEST_S: Final = 1.0
_AGES_NS: Final = (2 * SECOND, 4 * SECOND)
_APART_NS: Final = SECOND // 4
_REMEMBERED: Final = 20
"""Pictures, no more than four a second: the eldest is 5 s old, more than any age asks, however often one looks."""
_FORGET_NS: Final = 600 * SECOND
"""How long what was seen of somebody who stood still counts after the last of it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of each tile.

    free, near, still   samples held: without people; under what is painted for one; the same for one who stands still
    …_alike             how many of those look like the median of the free ones
    free_s, near_s      seconds without people and under what is painted for one, faded
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
        """Tiles that look like what was there while somebody stood still."""
        return (self.still > 0) & (self.still_alike > _SAME * self.still)

    def covered(self) -> Seconds:
        """Of the time in which a tile looks like its median, the share in which somebody is found there; 1 if there is none."""
        like = self.near_s * (self.near_alike / np.maximum(1, self.near)).astype(np.float32)
        return np.asarray(np.where(self.free_s > 0, like / np.maximum(like + self.free_s, 1e-6), 1.0), np.float32)

    def proven(self, most: float) -> Grid:
        """Tiles whose median is the empty place's: enough samples that agree, no doubt, and seldom anybody found there.

        most   the largest share of time in which somebody may be found there
        """
        steady = (self.free >= SAMPLES) & (self.free_alike >= _AGREEING)
        return np.asarray(steady & ~self.doubted() & (self.covered() <= most))


@dataclass(frozen=True, slots=True)
class Weighed:
    """What is known of the rows of tiles `band`. median: (4 x rows, 4 x columns), what they look like when nobody covers them."""

    band: slice
    median: Plane
    facts: Facts


class Stillness:
    """Remembers the picture for a few seconds, to tell what stayed as it was."""

    def __init__(self) -> None:
        self._before: deque[tuple[int, Plane]] = deque(maxlen=_REMEMBERED)

    def note(self, picture: Plane, at_ns: int) -> Grid:
        """Tiles that look as they did two seconds and four seconds ago; none while nothing is known of then."""
        still = np.ones((picture.shape[0] // TILE, picture.shape[1] // TILE), bool)
        for age_ns in _AGES_NS:
            before = next((one for then_ns, one in reversed(self._before) if at_ns - then_ns >= age_ns), None)
            still &= before is not None and ~unlike(picture, before)
        if not self._before or at_ns - self._before[-1][0] >= _APART_NS:
            self._before.append((at_ns, picture))
        return still


class Evidence:
    """Notes what each tile looks like, with and without people. shape: of the small picture, pixels."""

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
        """A moment. picture: of whole tiles, at the background's brightness; passed_s: since the last one.

        free    nobody is found there and nothing changes
        near    under what is painted for whoever was found in this picture
        still   under what is painted for a person who stands still
        unchanged   the tiles that look as they did seconds before: nobody passes in front
        """
        for samples, where in ((self._free, free), (self._near, near), (self._still, still & unchanged)):
            samples.take(picture, where, at_ns)
        passed = np.float32(min(max(passed_s, 0.0), _LONGEST_S))
        left = np.exp(-passed / np.float32(_FADE_S))
        self._free_s = self._free_s * left + ~near * passed
        self._near_s = self._near_s * left + near * passed
        self._still_ns[still] = at_ns

    def stood(self, at_ns: int) -> Grid:
        """Tiles where somebody stood still in the last ten minutes."""
        return np.asarray(at_ns - self._still_ns <= _FORGET_NS)

    def weigh(self, at_ns: int) -> Weighed:
        """The next rows of tiles in turn."""
        band, self._next = self._bands[self._next], (self._next + 1) % len(self._bands)
        median, lately = self._free.median(band), self.stood(at_ns)[band]
        facts = Facts(
            self._free.held[band], self._free.alike(median, band),
            self._near.held[band], self._near.alike(median, band),
            self._still.held[band] * lately, self._still.alike(median, band) * lately,
            self._free_s[band], self._near_s[band],
        )  # fmt: skip
        return Weighed(band, median, facts)
