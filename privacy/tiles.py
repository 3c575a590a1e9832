"""Grids of tiles over a picture, and the few rectangles that cover the tiles that are set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privacy.mask_record import Part
from privacy.regions import Region, enclose

Grid = npt.NDArray[np.bool_]


def rectangles(part: Part, grid: Grid, tile: tuple[float, float], width: int, height: int) -> tuple[Region, ...]:
    """Regions that cover every tile that is set; runs of tiles in a row, joined over rows where they are the same.

    grid            (rows, columns)
    tile            width and height of a tile in pixels of the picture
    width, height   of the picture; tiles may reach beyond it
    """
    rows = len(grid)
    wide, high = tile
    found: list[Region] = []
    open_runs: dict[tuple[int, int], int] = {}
    for row in range(rows + 1):
        runs = _runs(grid[row]) if row < rows else []
        for run in [run for run in open_runs if run not in runs]:
            corners = (run[0] * wide, open_runs.pop(run) * high, run[1] * wide, row * high)
            found.append(enclose(part, corners, width, height))
        for run in runs:
            open_runs.setdefault(run, row)
    return tuple(found)


def tiles_of(plane: npt.NDArray[np.bool_], side: int, least: int = 1) -> Grid:
    """(rows, columns) of tiles of side x side pixels: set where that many pixels are; the last ones may be narrower."""
    rows, columns = plane.shape
    padded = np.zeros((-(-rows // side) * side, -(-columns // side) * side), bool)
    padded[:rows, :columns] = plane
    return np.asarray(padded.reshape(padded.shape[0] // side, side, -1, side).sum(axis=(1, 3)) >= least)


def pixels_of(grid: Grid, side: int, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The inverse: every pixel of a set tile, cut to (rows, columns)."""
    return np.asarray(grid.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]])


def _runs(row: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of each run of set tiles."""
    edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
