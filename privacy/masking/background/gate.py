"""The second gate of `strict`: masks whatever differs from the empty scene, independent of the detector.

OpenCV's MOG2 was measured and not used: its learning cannot be controlled by region, and cannot be undone
(docs/decisions/0013). The rules about passers-by are from docs/decisions/0050:

- After a start each tile stays masked until it was seen without people (R19): unchanged for two seconds, or for five where a
  person was detected, or when its appearance between passers-by is proven to be background
  (`privacy.masking.background.learning`).
- Where a detected person stood still in the last ten minutes, only such a proof counts (R20).
- Foreground may be learned, tile by tile, after ten minutes in which no detector reports a person there, or in which it is
  proven to be background; both are counted. Slow changes are followed where no person was detected for ten minutes, and between
  passers-by where the appearance is proven.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from privacy.masking.background.background_model import LONG_SIDE, BackgroundModel, Picture
from privacy.masking.background.learned import LearnedBackground, from_model, to_model
from privacy.masking.background.learning import BandEvidence, Evidence, Stillness
from privacy.masking.background.samples import LEVELS, MOVED, SHARE, TILE, rows_of, unlike, whole_tiles
from privacy.masking.delay import Verdict
from privacy.masking.frames import Frame, Plane
from privacy.masking.light import small_luma
from privacy.masking.mask_record import Part
from privacy.masking.regions import GROWTH, Region, enclose
from privacy.masking.tiles import Grid, pixels_of, rectangles, tiles_of
from privacy.masking.tracking import SECOND

BLOCK_NS = 600 * SECOND
MOST_FIRST: Final = 0.6
MOST_LATER: Final = 0.4
"""The largest share of time for which people may be detected in a tile that is learned: before and after it was first seen."""
_CALM_NS = 2 * SECOND
_CALM_AFTER_NS = 5 * SECOND  # where a person was detected: longer than it takes to notice that the person stands still
_GLANCE_S = 0.7  # time constant of the short-term mean that shows whether a tile is unchanged
_FOLLOW_S = 15.0  # time constant of the mean where it learns from the median between passers-by
_SMALLEST = 6  # pixels of the small picture
_GROW = (0.15, 0.10)  # of the box around foreground, at each side
_MIDDLE = 0.6  # share of a detection's width that counts as its middle
_STILL = 0.75  # a person stands still if this share of the tiles in the middle looks as before


Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels of the frame."""


class BackgroundGate:
    """Adds the second gate's regions to the verdicts of frames, in the order of time.

    learned   a background learned before, of the same scene and picture size, or None
    """

    def __init__(self, width: int, height: int, learned: LearnedBackground | None = None) -> None:
        self._size, self._given = (width, height), learned
        self._last_ns: int | None = None
        self.learned = 0

    def judge(self, frame: Frame, verdict: Verdict) -> Verdict:
        """The verdict with the regions of this gate added. Also learns, except from a frame that is fully masked."""
        now = small_luma(frame, LONG_SIDE).astype(np.float32)
        if self._last_ns is None:
            self._begin(now, frame.mono_ns)
        people = self._tiles_under(verdict.regions, ("person", "face"))
        foreground = self._model.foreground(now, self._seen)
        moved = self._clear(now, frame.mono_ns, people | bool(verdict.cause))
        self._learn(now, frame.mono_ns, people, foreground, allowed=not verdict.cause)
        self._last_ns = frame.mono_ns
        if verdict.cause:
            return verdict
        if verdict.found is not None:
            self._note(now, frame.mono_ns, verdict, people | moved)
        side = max(self._size) / LONG_SIDE * TILE
        unseen = rectangles("unseen", ~self._seen, (side, side), *self._size)
        return replace(verdict, regions=(*verdict.regions, *unseen, *self._boxes(foreground)))

    def background(self, outside: Plane) -> LearnedBackground | None:
        """The learned background, in the tiles that were seen and have no pixel `outside`; None before the first frame.

        outside   (height, width), not 0 where every picture is masked
        """
        if self._last_ns is None:
            return None
        rows, columns = self._model.mean.shape
        hidden = cv2.resize(outside.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) > 0
        return from_model(self._model, self._seen & ~tiles_of(hidden, TILE), self._size)

    def _begin(self, now: Picture, at_ns: int) -> None:
        grid = tiles_of(np.zeros(now.shape, bool), TILE)
        self._model, self._seen = to_model(self._given) if self._given else (BackgroundModel(now), grid)
        self._glance, self._evidence, self._stillness = now.copy(), Evidence(now.shape), Stillness()
        self._changed_ns = np.full(grid.shape, at_ns, np.int64)
        self._person_ns = np.full(grid.shape, at_ns - BLOCK_NS - 1, np.int64)
        self._foreground_ns = np.full(grid.shape, at_ns, np.int64)
        self._look = whole_tiles(np.zeros(now.shape, np.uint8))
        self._proven_ns = np.full(grid.shape, at_ns, np.int64)
        self._last_ns = self._noted_ns = at_ns

    def _clear(self, now: Picture, at_ns: int, disturbed: Grid) -> Grid:
        """Mark tiles as seen that were unchanged for long enough and where nobody stood still. Returns the tiles that changed."""
        passed = self._passed_s(at_ns)
        moved = tiles_of(np.abs(now - self._glance) > np.maximum(LEVELS, SHARE * self._glance), TILE, MOVED)
        self._glance += (now - self._glance) * np.float32(min(1.0, passed / _GLANCE_S))
        self._changed_ns[disturbed | moved] = at_ns
        calm_ns = np.where(self._visited(at_ns), _CALM_AFTER_NS, _CALM_NS)
        clear = ~self._seen & (at_ns - self._changed_ns >= calm_ns) & ~self._evidence.stood(at_ns)
        if clear.any():
            self._restart(clear, at_ns)
            self._seen |= clear
        return moved

    def _learn(self, now: Picture, at_ns: int, people: Grid, foreground: npt.NDArray[np.uint8], *, allowed: bool) -> None:
        self._person_ns[people] = at_ns
        different = tiles_of(foreground > 0, TILE)
        self._foreground_ns[~different | people] = at_ns
        if not allowed:
            return
        free = self._seen & ~self._visited(at_ns)
        taken = free & (at_ns - self._foreground_ns > BLOCK_NS)
        if taken.any():
            self.learned += int(taken.sum())
            self._restart(taken, at_ns)
        self._model.adapt(now, self._passed_s(at_ns), free & ~different)

    def _note(self, now: Picture, at_ns: int, verdict: Verdict, busy: Grid) -> None:
        """At each run of the detector: record what the tiles look like with and without people, and learn from it."""
        picture = whole_tiles(self._model.matched(now))
        still = self._stillness.note(picture, at_ns)
        boxes = [(found.left, found.top, found.right, found.bottom) for found in verdict.found or () if found.kind != "vehicle"]
        near = self._tiles_of([self._grown(box) for box in boxes])
        free = ~(busy | near | self._tiles_under(verdict.regions, ("change", "vehicle")))
        passed_s = (at_ns - self._noted_ns) / SECOND
        self._evidence.note(picture, at_ns, passed_s, free, near, self._standing(boxes, still), still)
        self._noted_ns = at_ns
        self._learn_proven(at_ns)

    def _standing(self, boxes: list[Box], still: Grid) -> Grid:
        """Tiles under the masks of the people who stand still: nearly all tiles in the middle of their boxes are `still`."""
        standing = [box for box in boxes if still[self._tiles(*_middle(*box))].mean() >= _STILL]
        return self._tiles_of([self._grown(box) for box in standing])

    def _learn_proven(self, at_ns: int) -> None:
        """Learn the proven appearance of the next rows of tiles, where people were detected in the last ten minutes."""
        evidence = self._evidence.next_band(at_ns)
        band, median = evidence.band, evidence.median
        visited, seen = self._visited(at_ns)[band], self._seen[band]
        proven = visited & evidence.tiles.proven(MOST_FIRST)
        first, different = proven & ~seen, unlike(self._model.look(band), median)
        held_ns = self._held(evidence, evidence.tiles.proven(MOST_LATER), at_ns)
        taken = proven & seen & different & (at_ns - held_ns > BLOCK_NS)
        self.learned += int(taken.sum())
        self._model.follow(median, 2 / _FOLLOW_S, proven & seen & ~different, band)
        self._model.restart(median, first | taken, band)
        seen |= first
        self._foreground_ns[band][first | taken] = at_ns

    def _held(self, evidence: BandEvidence, proven: Grid, at_ns: int) -> npt.NDArray[np.int64]:
        """Time (ns) since which the same median has been proven at each evaluation, for each tile of the rows."""
        look = self._look[rows_of(evidence.band)]
        other = unlike(look, evidence.median) | ~proven
        pixels = pixels_of(other, TILE, look.shape)
        look[pixels] = evidence.median[pixels]
        since = self._proven_ns[evidence.band]
        since[other] = at_ns
        return since

    def _visited(self, at_ns: int) -> Grid:
        """Tiles where a person was detected in the last ten minutes."""
        return np.asarray(at_ns - self._person_ns <= BLOCK_NS)

    def _passed_s(self, at_ns: int) -> float:
        return max(0.0, (at_ns - (self._last_ns or at_ns)) / SECOND)

    def _restart(self, tiles: Grid, at_ns: int) -> None:
        self._model.restart(self._glance / self._model.gain, tiles, slice(0, len(tiles)))
        self._foreground_ns[tiles] = at_ns

    def _tiles_under(self, regions: tuple[Region, ...], parts: tuple[Part, ...]) -> Grid:
        """Tiles that are touched by painted regions of these kinds."""
        return self._tiles_of([(one.left, one.top, one.right, one.bottom) for one in regions if one.part in parts])

    def _tiles_of(self, boxes: list[Box]) -> Grid:
        grid = np.zeros_like(self._seen)
        for box in boxes:
            grid[self._tiles(*box)] = True
        return grid

    def _tiles(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns of the tiles that a box touches; at least one tile."""
        # The last tile of a row may be narrower than the others: scale by the small picture, not by the number of tiles.
        scale, (rows, columns) = LONG_SIDE / max(self._size) / TILE, self._seen.shape
        first, before = min(max(0, int(top * scale)), rows - 1), min(max(0, int(left * scale)), columns - 1)
        return slice(first, max(first + 1, math.ceil(bottom * scale))), slice(before, max(before + 1, math.ceil(right * scale)))

    @staticmethod
    def _grown(box: Box) -> Box:
        """The smallest mask that is painted for a person with that box."""
        left, top, right, bottom = box
        dx, dy = (right - left) * GROWTH["person"][0], (bottom - top) * GROWTH["person"][1]
        return left - dx, top - dy, right + dx, bottom + dy

    def _boxes(self, foreground: npt.NDArray[np.uint8]) -> tuple[Region, ...]:
        """One region for each connected area of foreground."""
        _, _, stats, _ = cv2.connectedComponentsWithStats(foreground)
        scale = max(self._size) / LONG_SIDE
        found = []
        for left, top, wide, high, area in stats[1:].tolist():
            if area >= _SMALLEST:
                dx, dy = max(2.0, wide * _GROW[0]), max(2.0, high * _GROW[1])
                corners = ((left - dx) * scale, (top - dy) * scale, (left + wide + dx) * scale, (top + high + dy) * scale)
                found.append(enclose("motion", corners, *self._size))
        return tuple(found)


def _middle(left: float, top: float, right: float, bottom: float) -> Box:
    """The middle part of a person's box: it shows the body, the sides may show the background."""
    aside = (right - left) * (1 - _MIDDLE) / 2
    return left + aside, top, right - aside, bottom
