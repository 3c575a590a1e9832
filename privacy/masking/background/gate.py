"""The second gate: what the picture shows that the empty place does not, whoever the detector takes it for.

A stock subtractor (MOG2) was measured and left: it cannot be told region by region what it may learn and cannot be made to
forget (docs/decisions/0013). The rules are those of the promise; those about passers-by are of docs/decisions/0050:

- after a start each tile stays masked until it was seen without people (R19): calm for two seconds, or for five where somebody
  was found, or as soon as its look between passers-by is proven to be the empty place's (`privacy.masking.background.learning`);
- where somebody was found who stood still in the last ten minutes only such a proof counts (R20);
- foreground that no detector calls a person for ten minutes may be learned, tile by tile, and so may foreground that is proven
  to be no person's for ten minutes on end; both are counted. Slow changes are followed where nobody was found for ten minutes,
  and between passers-by where the look is proven.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from privacy.masking.background.empty_place import LONG_SIDE, Picture, Place
from privacy.masking.background.learned import LearnedBackground, of_place, to_place
from privacy.masking.background.learning import Evidence, Stillness, Weighed
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
"""The largest share of time in which somebody may be found where the empty place is learned: before and after it was seen."""
_CALM_NS = 2 * SECOND
_CALM_AFTER_NS = 5 * SECOND  # where somebody was found: longer than it takes to tell that they stand
_GLANCE_S = 0.7  # of the short memory that says whether a tile is calm
_FOLLOW_S = 15.0  # of the mean, where the median between passers-by teaches it
_SMALLEST = 6  # pixels of the small picture
_GROW = (0.15, 0.10)  # of the box around foreground, at each side
_MIDDLE = 0.6  # of a box as it was found, in its width
_STILL = 0.75  # of the tiles there look as before: somebody who stands


Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels of the frame."""


class BackgroundGate:
    """Judges frames in the order of time, once it is known who was detected in them.

    learned   what was learned of the same place before, from pictures of the same size, or None
    """

    def __init__(self, width: int, height: int, learned: LearnedBackground | None = None) -> None:
        self._size, self._given = (width, height), learned
        self._last_ns: int | None = None
        self.learned = 0

    def judge(self, frame: Frame, verdict: Verdict) -> Verdict:
        """The verdict with what this gate adds; learns what it may. A frame that is fully masked teaches nothing."""
        now = small_luma(frame, LONG_SIDE).astype(np.float32)
        if self._last_ns is None:
            self._begin(now, frame.mono_ns)
        people = self._tiles_under(verdict.regions, ("person", "face"))
        foreground = self._place.foreground(now, self._seen)
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
        """What was learned, where it was seen and no pixel is `outside` (height, width; 0 = not); None before the first frame."""
        if self._last_ns is None:
            return None
        rows, columns = self._place.mean.shape
        hidden = cv2.resize(outside.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) > 0
        return of_place(self._place, self._seen & ~tiles_of(hidden, TILE), self._size)

    def _begin(self, now: Picture, at_ns: int) -> None:
        grid = tiles_of(np.zeros(now.shape, bool), TILE)
        self._place, self._seen = to_place(self._given) if self._given else (Place(now), grid)
        self._glance, self._evidence, self._stillness = now.copy(), Evidence(now.shape), Stillness()
        self._restless_ns = np.full(grid.shape, at_ns, np.int64)
        self._person_ns = np.full(grid.shape, at_ns - BLOCK_NS - 1, np.int64)
        self._strange_ns = np.full(grid.shape, at_ns, np.int64)
        self._look = whole_tiles(np.zeros(now.shape, np.uint8))
        self._proven_ns = np.full(grid.shape, at_ns, np.int64)
        self._last_ns = self._noted_ns = at_ns

    def _clear(self, now: Picture, at_ns: int, restless: Grid) -> Grid:
        """Tiles that were calm for long enough, and where nobody stood lately, count as seen. Returns the tiles that move."""
        passed = self._passed_s(at_ns)
        moved = tiles_of(np.abs(now - self._glance) > np.maximum(LEVELS, SHARE * self._glance), TILE, MOVED)
        self._glance += (now - self._glance) * np.float32(min(1.0, passed / _GLANCE_S))
        self._restless_ns[restless | moved] = at_ns
        calm_ns = np.where(self._visited(at_ns), _CALM_AFTER_NS, _CALM_NS)
        clear = ~self._seen & (at_ns - self._restless_ns >= calm_ns) & ~self._evidence.stood(at_ns)
        if clear.any():
            self._restart(clear, at_ns)
            self._seen |= clear
        return moved

    def _learn(self, now: Picture, at_ns: int, people: Grid, foreground: npt.NDArray[np.uint8], *, allowed: bool) -> None:
        self._person_ns[people] = at_ns
        strange = tiles_of(foreground > 0, TILE)
        self._strange_ns[~strange | people] = at_ns
        if not allowed:
            return
        free = self._seen & ~self._visited(at_ns)
        taken = free & (at_ns - self._strange_ns > BLOCK_NS)
        if taken.any():
            self.learned += int(taken.sum())
            self._restart(taken, at_ns)
        self._place.adapt(now, self._passed_s(at_ns), free & ~strange)

    def _note(self, now: Picture, at_ns: int, verdict: Verdict, busy: Grid) -> None:
        """At each look: what the tiles look like, with people and without; and what follows for some of them."""
        picture = whole_tiles(self._place.matched(now))
        still = self._stillness.note(picture, at_ns)
        boxes = [(found.left, found.top, found.right, found.bottom) for found in verdict.found or () if found.kind != "vehicle"]
        near = self._tiles_of([self._grown(box) for box in boxes])
        free = ~(busy | near | self._tiles_under(verdict.regions, ("change", "vehicle")))
        passed_s = (at_ns - self._noted_ns) / SECOND
        self._evidence.note(picture, at_ns, passed_s, free, near, self._standing(boxes, still), still)
        self._noted_ns = at_ns
        self._weigh(at_ns)

    def _standing(self, boxes: list[Box], still: Grid) -> Grid:
        """Tiles under what is painted for those in whose middle nearly all tiles are `still`."""
        standing = [box for box in boxes if still[self._tiles(*_middle(*box))].mean() >= _STILL]
        return self._tiles_of([self._grown(box) for box in standing])

    def _weigh(self, at_ns: int) -> None:
        """Learn what is proven of the next rows of tiles, where people were found in the last ten minutes."""
        weighed = self._evidence.weigh(at_ns)
        band, median = weighed.band, weighed.median
        visited, seen = self._visited(at_ns)[band], self._seen[band]
        proven = visited & weighed.facts.proven(MOST_FIRST)
        first, strange = proven & ~seen, unlike(self._place.look(band), median)
        held_ns = self._held(weighed, weighed.facts.proven(MOST_LATER), at_ns)
        taken = proven & seen & strange & (at_ns - held_ns > BLOCK_NS)
        self.learned += int(taken.sum())
        self._place.follow(median, 2 / _FOLLOW_S, proven & seen & ~strange, band)
        self._place.restart(median, first | taken, band)
        seen |= first
        self._strange_ns[band][first | taken] = at_ns

    def _held(self, weighed: Weighed, proven: Grid, at_ns: int) -> npt.NDArray[np.int64]:
        """Since when the same median has been proven at each weighing, by tile of its rows; nanoseconds."""
        look = self._look[rows_of(weighed.band)]
        other = unlike(look, weighed.median) | ~proven
        pixels = pixels_of(other, TILE, look.shape)
        look[pixels] = weighed.median[pixels]
        since = self._proven_ns[weighed.band]
        since[other] = at_ns
        return since

    def _visited(self, at_ns: int) -> Grid:
        """Tiles where somebody was found in the last ten minutes."""
        return np.asarray(at_ns - self._person_ns <= BLOCK_NS)

    def _passed_s(self, at_ns: int) -> float:
        return max(0.0, (at_ns - (self._last_ns or at_ns)) / SECOND)

    def _restart(self, tiles: Grid, at_ns: int) -> None:
        self._place.restart(self._glance / self._place.gain, tiles, slice(0, len(tiles)))
        self._strange_ns[tiles] = at_ns

    def _tiles_under(self, regions: tuple[Region, ...], parts: tuple[Part, ...]) -> Grid:
        """Tiles of which any part lies under regions of these kinds, as painted."""
        return self._tiles_of([(one.left, one.top, one.right, one.bottom) for one in regions if one.part in parts])

    def _tiles_of(self, boxes: list[Box]) -> Grid:
        grid = np.zeros_like(self._seen)
        for box in boxes:
            grid[self._tiles(*box)] = True
        return grid

    def _tiles(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """The rows and columns of tiles of which any part lies in a box; one tile at least."""
        # The last tile of a row may be narrower than the others: scale by the small picture, not by the count of tiles.
        scale, (rows, columns) = LONG_SIDE / max(self._size) / TILE, self._seen.shape
        first, before = min(max(0, int(top * scale)), rows - 1), min(max(0, int(left * scale)), columns - 1)
        return slice(first, max(first + 1, math.ceil(bottom * scale))), slice(before, max(before + 1, math.ceil(right * scale)))

    @staticmethod
    def _grown(box: Box) -> Box:
        """What is painted for a person of that box, at least."""
        left, top, right, bottom = box
        dx, dy = (right - left) * GROWTH["person"][0], (bottom - top) * GROWTH["person"][1]
        return left - dx, top - dy, right + dx, bottom + dy

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


def _middle(left: float, top: float, right: float, bottom: float) -> Box:
    """Of somebody's box the middle: there it is body, beside it may be the place."""
    aside = (right - left) * (1 - _MIDDLE) / 2
    return left + aside, top, right - aside, bottom
