"""Tracks people and vehicles from one look (run of the detector) to the next, and gives their positions in the frames between.

A constant-velocity tracker like SORT (Bewley et al., arXiv 1602.00763) without its Kalman filter: a track is predicted along its
velocity and takes the detection that overlaps it most. Because frames wait in the delay line until the next look, positions
between two looks are interpolated, not extrapolated. A lost track is held for a second or more and continued along its velocity;
a new one is masked from the look before on.

All computation is on arrays, so that fifty people take about the time of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privacy.masking.detection import Detection, Kind
from privacy.masking.mask_record import Part
from privacy.masking.regions import GROWTH, Region

Boxes = npt.NDArray[np.float64]
"""(n, 4): left, top, right, bottom in pixels of the frame."""

SECOND = 1_000_000_000
# How long a lost track is still masked; longer for faces, which are detected less often.
HOLD_NS: dict[Kind, int] = {"person": SECOND, "face": 2 * SECOND, "vehicle": SECOND}
# A frame's mask covers the positions from so much before it to so much after it, because people do not walk evenly.
SLACK_NS = 85_000_000
_KINDS: tuple[Kind, ...] = ("person", "face", "vehicle")
_LEAST = 0.05
_SURE = 0.25
_LEVEL = 0.35
_EDGE = 0.02
_STRIDE = 0.7
_RIVAL = 0.5  # a pair with this share of the best overlap is another possible continuation of a track
# Boxes are enlarged by this for matching: at two looks per second people move by their width, but hardly up or down.
_REACH = np.array([0.6, 0.2])


@dataclass(frozen=True, slots=True)
class Trajectories:
    """The positions of all tracks during one span, from its begin (share 0) to its end (share 1).

    kinds        (n,) index in `_KINDS`
    begin, end   (n, 4) boxes as detected or predicted, without margins
    loose        (n,) True: positions between are not known; both boxes and everything between them are masked
    slack        `SLACK_NS` as a share of the span
    """

    kinds: npt.NDArray[np.intp]
    begin: Boxes
    end: Boxes
    loose: npt.NDArray[np.bool_]
    slack: float

    def regions(self, share: float, width: int, height: int) -> tuple[Region, ...]:
        """The regions to paint at that share (0..1) of the span, with margins, inside the picture, corners even."""
        if not len(self.kinds):
            return ()
        early = np.where(self.loose, 0.0, max(0.0, share - self.slack))[:, None]
        late = np.where(self.loose, 1.0, min(1.0, share + self.slack))[:, None]
        way = self.end - self.begin
        first, last = self.begin + way * early, self.begin + way * late
        hull = np.hstack((np.minimum(first, last)[:, :2], np.maximum(first, last)[:, 2:]))
        corners = _whole(_grown(hull, _GROWTH[self.kinds]), width, height)
        return tuple(
            Region(_PARTS[kind], left, top, right, bottom)
            for kind, (left, top, right, bottom) in zip(self.kinds.tolist(), corners.tolist(), strict=True)
            if left < right and top < bottom
        )

    def thinned(self) -> Trajectories:
        """Without the rows that lie inside another row of the same kind at the begin and at the end, and therefore always."""
        inside = self.kinds[:, None] == self.kinds
        hull = np.hstack((np.minimum(self.begin, self.end)[:, :2], np.maximum(self.begin, self.end)[:, 2:]))
        loose = self.loose[:, None]
        for boxes in (np.where(loose, hull, self.begin), np.where(loose, hull, self.end)):
            left, top, right, bottom = _grown(boxes, _GROWTH[self.kinds]).T
            inside &= (left[:, None] >= left) & (top[:, None] >= top) & (right[:, None] <= right) & (bottom[:, None] <= bottom)
        earlier = np.arange(len(self.kinds))[:, None] > np.arange(len(self.kinds))
        keep = ~(inside & (~inside.T | earlier)).any(axis=1)
        return Trajectories(self.kinds[keep], self.begin[keep], self.end[keep], self.loose[keep], self.slack)


class Tracker:
    """Connects the detections of successive looks. `step` must be called with each valid result, oldest first."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._ns = 0
        self._kinds = np.empty(0, np.intp)
        self._seen_box = np.empty((0, 4))
        self._now_box = np.empty((0, 4))
        self._speed = np.empty((0, 4))  # pixels a nanosecond
        self._seen_ns = np.empty(0, np.int64)

    def step(self, mono_ns: int, detections: tuple[Detection, ...]) -> Trajectories:
        """The trajectories from the look before to this one."""
        kinds = np.array([_KINDS.index(found.kind) for found in detections], np.intp)
        boxes = np.array([(d.left, d.top, d.right, d.bottom) for d in detections], float).reshape(-1, 4)
        passed = (mono_ns - self._seen_ns)[:, None]
        expected = self._seen_box + self._speed * passed
        overlap = _overlaps(expected, boxes, self._kinds[:, None] == kinds)
        old, new = _pairs(np.where(_level(expected, boxes), overlap, 0.0), _SURE)
        lost = np.setdiff1d(np.arange(len(self._kinds)), old)
        fresh = np.setdiff1d(np.arange(len(kinds)), new)
        # A track that was lost at the look before may be another person, who came meanwhile.
        came = np.concatenate((fresh, new[self._seen_ns[old] < self._ns]))
        first, second = _plausible(overlap)
        trajectories = Trajectories(
            np.concatenate((kinds[second], kinds[came], self._kinds[lost])),
            np.concatenate((self._now_box[first], self._around(boxes[came]), self._now_box[lost])),
            np.concatenate((boxes[second], boxes[came], self._ends(lost, expected))),
            np.concatenate((np.zeros(len(second), bool), np.ones(len(came) + len(lost), bool))),
            SLACK_NS / max(1, mono_ns - self._ns),
        )
        speed = _steady((boxes[new] - self._seen_box[old]) / passed[old], self._speed[old])
        held = lost[mono_ns - self._seen_ns[lost] < _HOLD[self._kinds[lost]]]
        self._keep(mono_ns, kinds, boxes, (new, fresh), speed, held, expected[held])
        return trajectories.thinned()

    def _ends(self, lost: npt.NDArray[np.intp], expected: Boxes) -> Boxes:
        """Where lost tracks may be by now: at the predicted position, or anywhere near it if the velocity is not known."""
        still = ~self._speed[lost].any(axis=1, keepdims=True)
        return np.where(still, self._around(expected[lost]), expected[lost])

    def _around(self, boxes: Boxes) -> Boxes:
        """Where people who were detected once may be at the looks before and after: half a width to each side, or beyond an edge of
        the picture that they can reach (1.8 m/s for 0.7 s are seven tenths of a person's height)."""
        width, height = self._size
        left, top, right, bottom = (boxes[:, n : n + 1] for n in range(4))
        reach, sway = _STRIDE * (bottom - top), (right - left) / 2
        return np.hstack(
            (
                np.where(left < reach, np.minimum(left, 0), left - sway),
                np.where(top < reach / 2, np.minimum(top, 0), top),
                np.where(right > width - reach, np.maximum(right, width), right + sway),
                np.where(bottom > height - reach / 2, np.maximum(bottom, height), bottom),
            )
        )

    def _keep(
        self,
        mono_ns: int,
        kinds: npt.NDArray[np.intp],
        boxes: Boxes,
        found: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
        speed: Boxes,
        held: npt.NDArray[np.intp],
        expected: Boxes,
    ) -> None:
        order = np.concatenate(found)
        self._ns = mono_ns
        self._kinds = np.concatenate((kinds[order], self._kinds[held]))
        self._seen_box = np.concatenate((boxes[order], self._seen_box[held]))
        self._now_box = np.concatenate((boxes[order], expected))
        self._speed = np.concatenate((speed, np.zeros((len(found[1]), 4)), self._speed[held]))
        self._seen_ns = np.concatenate((np.full(len(order), mono_ns, np.int64), self._seen_ns[held]))


_PARTS: tuple[Part, ...] = _KINDS
_GROWTH = np.array([GROWTH[kind] for kind in _KINDS])
_HOLD = np.array([HOLD_NS[kind] for kind in _KINDS])


def _steady(speed: Boxes, before: Boxes) -> Boxes:
    """The velocity of the middle of each box, averaged with the one before. Only the middle counts, because the size of a box also
    varies for a person who stands still."""
    middle = (speed[:, :2] + speed[:, 2:]) / 2
    middle = np.hstack((middle, middle))
    known = before.any(axis=1, keepdims=True)
    return np.where(known, (middle + before) / 2, middle)


def _grown(boxes: Boxes, share: npt.NDArray[np.float64] | float) -> Boxes:
    margin = (boxes[:, 2:] - boxes[:, :2]) * share
    return np.hstack((boxes[:, :2] - margin, boxes[:, 2:] + margin))


def _whole(boxes: Boxes, width: int, height: int) -> npt.NDArray[np.intp]:
    """Corners rounded outwards to even pixels inside the picture; a narrow strip up to the picture's edge is included."""
    outwards = np.hstack((np.floor(boxes[:, :2] / 2), np.ceil(boxes[:, 2:] / 2))) * 2
    size = np.array((width, height))
    outwards[:, :2][outwards[:, :2] < _EDGE * size] = 0
    outwards[:, 2:] = np.where(outwards[:, 2:] > (1 - _EDGE) * size, size, outwards[:, 2:])
    return np.asarray(np.clip(outwards, 0, (width, height, width, height)), np.intp)


def _overlaps(before: Boxes, now: Boxes, may: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes enlarged by `_REACH`, (before, now); 0 for pairs that are not allowed by `may`."""
    a, b = (_grown(boxes, _REACH) for boxes in (before, now))
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = sides.clip(0).prod(axis=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    return np.where(may, common / (area_a[:, None] + area_b[None] - common), 0.0)


def _level(before: Boxes, now: Boxes) -> npt.NDArray[np.bool_]:
    """Pairs (before, now) whose heads and feet are at about the same height. This separates two people at the picture's edge."""
    apart = np.abs(before[:, None, 1::2] - now[None, :, 1::2]).sum(axis=2)
    high = np.maximum((before[:, 3] - before[:, 1])[:, None], (now[:, 3] - now[:, 1])[None])
    return np.asarray(apart < _LEVEL * high)


def _plausible(overlap: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """All pairs (before, now) that could be the same person. Where people pass each other, boxes do not show who is who, so every
    possible way is masked."""
    if not overlap.size:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    best = np.minimum(overlap.max(axis=1, keepdims=True), overlap.max(axis=0, keepdims=True))
    first, second = np.nonzero(overlap >= np.maximum(_LEAST, _RIVAL * best))
    return first, second


def _pairs(overlap: npt.NDArray[np.float64], least: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pairs (before, now) with at least that overlap, best overlap first, each row and column used once."""
    old: list[int] = []
    new: list[int] = []
    rows, columns = np.nonzero(overlap >= least)
    free_row, free_column = [True] * overlap.shape[0], [True] * overlap.shape[1]
    best = np.argsort(-overlap[rows, columns], kind="stable")
    for row, column in zip(rows[best].tolist(), columns[best].tolist(), strict=True):
        if free_row[row] and free_column[column]:
            free_row[row] = free_column[column] = False
            old.append(row)
            new.append(column)
    return np.array(old, np.intp), np.array(new, np.intp)
