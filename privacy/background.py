"""The second gate: what the picture shows that the empty place does not, whoever the detector takes it for.

A background of running mean and deviation a pixel (Wren et al., Pfinder, 1997), judged on a small luma picture after the
whole picture's brightness was matched. A stock subtractor (MOG2) was measured and left: it cannot be told region by region
what it may learn and cannot be made to forget (docs/decisions/0013). The rules are those of the promise:

- after a start each tile stays masked until it was seen clear: calm and without anybody detected (R19);
- nothing is learned where a person or face was detected in the last ten minutes: who stands still stays a person (R20);
- foreground that no detector calls a person for ten minutes may be learned, tile by tile, and is counted.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from privacy.delay import Verdict
from privacy.frames import Frame
from privacy.light import small_luma
from privacy.regions import Region, enclose
from privacy.tiles import Grid, pixels_of, rectangles, tiles_of
from privacy.tracking import SECOND

LONG_SIDE = 192
TILE = 4
BLOCK_NS = 600 * SECOND
_CALM_NS = 2 * SECOND
_MEMORY_S = 60.0  # of the background's mean, where it may learn
_GLANCE_S = 0.7  # of the short memory that says whether a tile is calm
# Foreground: further from the mean than this share of it, than this many levels, than this many deviations.
_SHARE, _LEVELS, _DEVIATIONS = 0.18, 8.0, 3.5
_NOISE, _NOISIEST = 3.0, 8.0
_MOVED = 4  # pixels of a tile that change: a quarter; a streak of rain changes fewer
_SMALLEST = 6  # pixels of the small picture
# A head or a leg may look like the wall behind it: parts are joined upwards, and their box is grown at each side.
_JOIN = np.ones((7, 3), np.uint8)
_GROW = (0.15, 0.10)
Picture = npt.NDArray[np.float32]


class BackgroundGate:
    """Judges frames in the order of time, once it is known who was detected in them."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._last_ns: int | None = None
        self.learned = 0

    def judge(self, frame: Frame, verdict: Verdict) -> Verdict:
        """The verdict with what this gate adds; learns what it may. A frame that is fully masked teaches nothing."""
        now = small_luma(frame, LONG_SIDE).astype(np.float32)
        if self._last_ns is None:
            self._begin(now, frame.mono_ns)
        people = self._tiles_under(verdict.regions)
        foreground = self._foreground(now)
        self._clear(now, frame.mono_ns, people | bool(verdict.cause))
        self._learn(now, frame.mono_ns, people, foreground, allowed=not verdict.cause)
        self._last_ns = frame.mono_ns
        if verdict.cause:
            return verdict
        side = max(self._size) / LONG_SIDE * TILE
        unseen = rectangles("unseen", ~self._seen, (side, side), *self._size)
        return replace(verdict, regions=(*verdict.regions, *unseen, *self._boxes(foreground)))

    def _begin(self, now: Picture, at_ns: int) -> None:
        grid = tiles_of(np.zeros(now.shape, bool), TILE)
        self._mean, self._glance = now.copy(), now.copy()
        self._deviation = np.full(now.shape, _NOISE, np.float32)
        self._seen: Grid = grid.copy()
        self._restless_ns = np.full(grid.shape, at_ns, np.int64)
        self._person_ns = np.full(grid.shape, at_ns - BLOCK_NS - 1, np.int64)
        self._strange_ns = np.full(grid.shape, at_ns, np.int64)
        self._last_ns = at_ns

    def _foreground(self, now: Picture) -> npt.NDArray[np.uint8]:
        """(rows, columns) of the small picture: 1 where a seen tile differs from the background."""
        seen = pixels_of(self._seen, TILE, now.shape)
        self._gain = self._brightness(now, seen)
        expected = self._mean * self._gain
        self._off = np.abs(now - expected)
        bound = np.maximum(np.maximum(_SHARE * expected, _LEVELS), _DEVIATIONS * self._deviation)
        found = ((self._off > bound) & seen).astype(np.uint8)
        return np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, _JOIN), np.uint8)

    def _brightness(self, now: Picture, seen: npt.NDArray[np.bool_]) -> float:
        """How much brighter the whole place is than the background: the median of ratios, where it was seen."""
        sample = seen[::3, ::3]
        if sample.sum() < 50:
            return 1.0
        ratio = now[::3, ::3][sample] / np.maximum(self._mean[::3, ::3][sample], 1.0)
        return float(np.clip(np.median(ratio), 0.25, 4.0))

    def _clear(self, now: Picture, at_ns: int, restless: Grid) -> None:
        """Tiles that were calm and without people for long enough count as seen; the background begins there."""
        passed = max(0.0, (at_ns - (self._last_ns or at_ns)) / SECOND)
        moved = tiles_of(np.abs(now - self._glance) > np.maximum(_LEVELS, _SHARE * self._glance), TILE, _MOVED)
        self._glance += (now - self._glance) * np.float32(min(1.0, passed / _GLANCE_S))
        self._restless_ns[restless | moved] = at_ns
        clear = ~self._seen & (at_ns - self._restless_ns >= _CALM_NS)
        if clear.any():
            self._restart(clear)
            self._strange_ns[clear] = at_ns
            self._seen |= clear

    def _learn(self, now: Picture, at_ns: int, people: Grid, foreground: npt.NDArray[np.uint8], *, allowed: bool) -> None:
        self._person_ns[people] = at_ns
        strange = tiles_of(foreground > 0, TILE)
        self._strange_ns[~strange | people] = at_ns
        if not allowed:
            return
        free = self._seen & (at_ns - self._person_ns > BLOCK_NS)
        taken = free & (at_ns - self._strange_ns > BLOCK_NS)
        if taken.any():
            self.learned += int(taken.sum())
            self._restart(taken)
            self._strange_ns[taken] = at_ns
        self._adapt(now, at_ns, free & ~strange)

    def _adapt(self, now: Picture, at_ns: int, where: Grid) -> None:
        rate = np.float32(min(1.0, (at_ns - (self._last_ns or at_ns)) / SECOND / _MEMORY_S))
        weight = pixels_of(where, TILE, now.shape) * rate
        self._mean += (now / np.float32(self._gain) - self._mean) * weight
        spread = np.minimum(self._off * np.float32(1.25), 2 * _NOISIEST)  # 1.25: from mean to standard deviation, nearly
        self._deviation += (spread - self._deviation) * weight
        np.clip(self._deviation, 1.0, _NOISIEST, out=self._deviation)

    def _restart(self, tiles: Grid) -> None:
        pixels = pixels_of(tiles, TILE, self._mean.shape)
        self._mean[pixels] = self._glance[pixels] / np.float32(self._gain)
        self._deviation[pixels] = _NOISE

    def _tiles_under(self, regions: tuple[Region, ...]) -> Grid:
        """Tiles under a person or face as painted, margin included."""
        rows, columns = self._seen.shape
        grid = np.zeros((rows, columns), bool)
        # The last tile of a row may be narrower than the others: scale by the small picture, not by the count of tiles.
        scale = LONG_SIDE / max(self._size) / TILE
        for region in regions:
            if region.part in ("person", "face"):
                top, bottom = int(region.top * scale), int(np.ceil(region.bottom * scale))
                grid[top:bottom, int(region.left * scale) : int(np.ceil(region.right * scale))] = True
        return grid

    def _boxes(self, foreground: npt.NDArray[np.uint8]) -> tuple[Region, ...]:
        """A region for each connected piece of foreground."""
        _, _, stats, _ = cv2.connectedComponentsWithStats(foreground)
        scale = max(self._size) / LONG_SIDE
        found = []
        for left, top, wide, high, area in stats[1:].tolist():
            if area >= _SMALLEST:
                dx, dy = max(2.0, wide * _GROW[0]), max(2.0, high * _GROW[1])
                corners = ((left - dx) * scale, (top - dy) * scale, (left + wide + dx) * scale, (top + high + dy) * scale)
                found.append(enclose("motion", corners, *self._size))
        return tuple(found)
