"""The leak audit: in idle time, a slower and sharper look at a sample of masked frames. Is somebody visible in them? (R40)

It looks at what the encoder got, at a larger size than the masking detector does, and calls a find that lies outside everything
painted a candidate for a breach. A person judges it; it is no proof, and its silence is none either. Detections only: no
picture is kept, written or compared with another, and no embedding is made.

Measured with the first stack on 114 frames of PETS09-S2L1: masked as shipped no false alarm; with one labelled person left
unpainted 58 % of the frames gave a candidate. 28 ms of CPU a look and 33 MB; at 640 pixels it would be 69 %, 45 ms and 45 MB.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from privacy.masking.detection import Detection, Detector
from privacy.masking.frame_path import look
from privacy.masking.frames import Frame, MaskedFrame, Plane, planes_of

LONG_SIDE = 544
EVERY_NS = 30_000_000_000
WAITING = 4
SURE = 0.3
# A head is bare if less than this share of it is painted; so is somebody whose body is.
PAINTED = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody who may be visible. frame: its number; wall_ns: UTC of exposure."""

    frame: int
    wall_ns: int
    visible: Literal["person", "face"]
    score: float


@dataclass(frozen=True)
class _Sample:
    frame: Frame
    painted: Plane


class LeakAudit:
    """`take` belongs to the thread that has the masked frame, `step` to one with nothing better to do.

    detector   its own instance, of a long side of `LONG_SIDE`: it runs beside the one that masks
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._waiting: deque[_Sample] = deque()
        self._last_ns: int | None = None
        self.looked = self.dropped = self.failed = 0

    def due(self, mono_ns: int) -> bool:
        """Whether a sample is wanted from a frame of that time."""
        return self._last_ns is None or mono_ns - self._last_ns >= EVERY_NS

    def take(self, picture: MaskedFrame, raster: Plane) -> None:
        """Copy a masked frame at small size; raster (height, width) is 255 where it is painted. Never waits."""
        self._last_ns = picture.mono_ns
        if len(self._waiting) >= WAITING:
            self.dropped += 1
            return
        self._waiting.append(_Sample(_small(picture), cv2.resize(raster, _size(picture), interpolation=cv2.INTER_AREA)))  # type: ignore[arg-type]

    def step(self) -> tuple[Candidate, ...]:
        """Look at one sample, if one waits, and forget it."""
        if not self._waiting:
            return ()
        sample = self._waiting.popleft()
        seen = look(self._detector, sample.frame)
        self.looked += 1
        self.failed += bool(seen.cause)
        bare = [one for one in seen.detections if one.kind != "vehicle" and one.score >= SURE and _bare(one, sample.painted)]
        sample.frame.buffer[:] = 0
        return tuple(
            Candidate(sample.frame.index, sample.frame.wall_ns, "face" if one.kind == "face" else "person", one.score)
            for one in bare
        )


def _bare(one: Detection, painted: Plane) -> bool:
    """Head: middle half of the width, upper 16 % of the height; a face is its own head."""
    wide, high = one.right - one.left, one.bottom - one.top
    head = (one.left, one.top, one.right, one.bottom)
    if one.kind == "person":
        head = (one.left + wide / 4, one.top, one.right - wide / 4, one.top + 0.16 * high)
    return min(_share(painted, head), _share(painted, (one.left, one.top, one.right, one.bottom))) < PAINTED


def _share(painted: Plane, corners: tuple[float, float, float, float]) -> float:
    """Painted share of the part of a box that lies in the picture; 1 if none does."""
    left, top, right, bottom = (max(0, round(value)) for value in corners)
    part = painted[top:bottom, left:right]
    return float(part.mean()) / 255 if part.size else 1.0


def _size(picture: MaskedFrame) -> tuple[int, int]:
    scale = min(1.0, LONG_SIDE / max(picture.width, picture.height))
    return max(2, round(picture.width * scale / 2) * 2), max(2, round(picture.height * scale / 2) * 2)


def _small(picture: MaskedFrame) -> Frame:
    width, height = _size(picture)
    buffer = np.empty((height * 3 // 2, width), np.uint8)
    frame = Frame(buffer, width, height, picture.index, picture.mono_ns, picture.wall_ns)
    for plane, target in zip(planes_of(picture.buffer, picture.width, picture.height), frame.planes, strict=True):
        target[:] = cv2.resize(plane, target.shape[::-1], interpolation=cv2.INTER_AREA)
    return frame
