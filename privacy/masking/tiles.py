"""Grids of tiles over a picture, and the rectangles that cover the tiles that are set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from privacy.masking.mask_record import Part
from privacy.masking.regions import Region, down, up

Grid = npt.NDArray[np.bool_]


def rectangles(part: Part, grid: Grid, tile: tuple[float, float], width: int, height: int) -> tuple[Region, ...]:
    """Regions that cover all tiles that are set: runs of tiles in a row, joined with identical runs in the next rows.

    grid            (rows, columns)
    tile            width and height of a tile in pixels of the picture
    width, height   of the picture; tiles may reach beyond it
    """
    begun: dict[tuple[int, int], int] = {}
    found: list[tuple[int, int, int, int]] = []

    def close(row: int, kept: frozenset[tuple[int, int]]) -> None:
        for run in [run for run in begun if run not in kept]:
            found.append((run[0], begun.pop(run), run[1], row))

    before = -1
    for row, runs in _runs(grid):
        close(before + 1, frozenset(runs) if row == before + 1 else frozenset())
        for run in runs:
            begun.setdefault(run, row)
        before = row
    close(before + 1, frozenset())
    rows, columns = grid.shape
    (lefts, rights), (tops, bottoms) = _edges(columns, tile[0], width), _edges(rows, tile[1], height)
    return tuple(Region(part, lefts[left], tops[top], rights[right], bottoms[bottom]) for left, top, right, bottom in found)


@lru_cache(maxsize=16)
def _edges(count: int, side: float, limit: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each edge between `count` tiles of that side length: the even pixel at which a region begins there, and at which one ends
    there."""
    edges = [number * side for number in range(count + 1)]
    return tuple(down(edge, limit) for edge in edges), tuple(up(edge, limit) for edge in edges)


def tiles_of(plane: npt.NDArray[np.bool_], side: int, least: int = 1) -> Grid:
    """(rows, columns) of tiles of side x side pixels: set if `least` or more of their pixels are; the last ones may be smaller."""
    rows, columns = plane.shape
    padded = np.zeros((-(-rows // side) * side, -(-columns // side) * side), bool)
    padded[:rows, :columns] = plane
    return np.asarray(padded.reshape(padded.shape[0] // side, side, -1, side).sum(axis=(1, 3)) >= least)


def pixels_of(grid: Grid, side: int, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The inverse of `tiles_of`: all pixels of the tiles that are set. shape: (rows, columns), pixels."""
    return np.asarray(grid.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]])


def _runs(grid: Grid) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The rows in which tiles are set, each with the begin and end columns of its runs."""
    rows, columns = np.nonzero(np.diff(grid.astype(np.int8), axis=1, prepend=0, append=0))
    edges = zip(rows[::2].tolist(), columns[::2].tolist(), columns[1::2].tolist(), strict=True)
    for row, runs in groupby(edges, key=itemgetter(0)):
        yield row, [(begin, end) for _, begin, end in runs]
