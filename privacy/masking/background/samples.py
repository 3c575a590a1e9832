"""The last samples of each tile of a scene; each tile has sampling times of its own.

The background of a scene in which people pass is the median over times at which nobody covers it (temporal median: Cucchiara
et al., IEEE TPAMI 25(10), 2003). Memory is bounded: `number` bytes per pixel of the small picture.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from privacy.masking.frames import Plane
from privacy.masking.tiles import Grid, pixels_of

TILE: Final = 4
LEVELS: Final = 8.0
SHARE: Final = 0.18
MOVED: Final = 4
"""Two samples of a tile differ if this many of its 16 pixels differ by more than `LEVELS` and by more than `SHARE` of the level."""
Counts = npt.NDArray[np.int64]
"""(rows, columns) of tiles: a number for each."""


def whole_tiles(plane: Plane) -> Plane:
    """The plane padded to whole tiles by repeating its last row and column."""
    rows, columns = plane.shape
    return np.pad(plane, ((0, -rows % TILE), (0, -columns % TILE)), mode="edge")


def rows_of(band: slice) -> slice:
    """The rows of pixels that belong to these rows of tiles."""
    return slice(band.start * TILE, band.stop * TILE)


def unlike(planes: Plane, reference: Plane) -> Grid:
    """Tiles that differ from a reference: (…, rows, columns) of tiles, for planes (…, rows, columns) of pixels in whole tiles."""
    bound = np.maximum(LEVELS, SHARE * reference.astype(np.float32)).astype(np.int16)
    off = np.abs(planes.astype(np.int16) - reference.astype(np.int16)) > bound
    *more, rows, columns = off.shape
    tiles = off.reshape(*more, rows // TILE, TILE, columns // TILE, TILE)
    return np.asarray(tiles.sum(axis=(-3, -1)) >= MOVED)


class Samples:
    """The last `number` samples of each tile, taken at least `apart_ns` apart.

    shape   (rows, columns) of the small picture, pixels
    """

    def __init__(self, shape: tuple[int, int], number: int, apart_ns: int) -> None:
        rows, columns = -(-shape[0] // TILE), -(-shape[1] // TILE)
        self._planes = np.zeros((number, rows * TILE, columns * TILE), np.uint8)
        self._apart_ns = apart_ns
        self._taken = np.zeros((rows, columns), np.int64)
        self._last_ns = np.full((rows, columns), np.iinfo(np.int64).min // 2, np.int64)

    @property
    def held(self) -> Counts:
        """The number of samples of each tile."""
        return np.minimum(self._taken, len(self._planes))

    def take(self, picture: Plane, where: Grid, at_ns: int) -> None:
        """Sample the tiles `where` of a picture in whole tiles, except those whose last sample is too recent."""
        due = where & (at_ns - self._last_ns >= self._apart_ns)
        rows, columns = np.nonzero(pixels_of(due, TILE, picture.shape))
        slots = self._taken[rows // TILE, columns // TILE] % len(self._planes)
        self._planes[slots, rows, columns] = picture[rows, columns]
        self._taken[due] += 1
        self._last_ns[due] = at_ns

    def median(self, band: slice) -> Plane:
        """The median of the samples of these rows of tiles, per pixel; not valid for tiles with fewer than `number` samples."""
        middle = len(self._planes) // 2
        return np.asarray(np.partition(self._planes[:, rows_of(band)], middle, axis=0)[middle], np.uint8)

    def alike(self, reference: Plane, band: slice) -> Counts:
        """How many samples of each tile in these rows look like the reference. reference: only those rows."""
        other = unlike(self._planes[:, rows_of(band)], reference)
        held = np.arange(len(self._planes))[:, None, None] < self._taken[band]
        return np.asarray((held & ~other).sum(axis=0), np.int64)
