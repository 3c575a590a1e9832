"""The leak audit: in idle time a detector of higher resolution searches samples of masked frames for visible people (R40).

It searches the frames that the encoder got. A detection outside all painted regions is a candidate for a breach, which a person
must assess: it proves no breach, and no candidate proves no safety. It produces detections only: no picture is kept, written or
compared with another, and no embedding is computed.

Measured with the first stack on 114 frames of PETS09-S2L1: no false alarm with the shipped masks; with one labelled person left
unpainted, 58 % of the frames gave a candidate. It takes 28 ms of CPU per sample and 33 MB; at 640 pixels 69 %, 45 ms and 45 MB.
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
# A person counts as visible if less than this share of the head, or of the whole body, is painted.
PAINTED = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person who may be visible.

    frame     number of the frame
    wall_ns   UTC of its exposure, nanoseconds since 1970
    score     of the detection, 0..1
    """

    frame: int
    wall_ns: int
    visible: Literal["person", "face"]
    score: float


@dataclass(frozen=True)
class _Sample:
    frame: Frame
    painted: Plane


class LeakAudit:
    """`take` is called by the thread that has the masked frame, `step` by an idle one.

    detector   an instance of its own, because it runs in parallel with the masking detector; its pictures have `LONG_SIDE`
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._waiting: deque[_Sample] = deque()
        self._last_ns: int | None = None
        self.looked = self.dropped = self.failed = 0

    def due(self, mono_ns: int) -> bool:
        """Whether a frame of that time should be sampled."""
        return self._last_ns is None or mono_ns - self._last_ns >= EVERY_NS

    def take(self, picture: MaskedFrame, raster: Plane) -> None:
        """Copy a masked frame at small size. raster: (height, width), 255 where it is painted. Does not block: if `WAITING` samples
        are queued, the new one is dropped and counted."""
        self._last_ns = picture.mono_ns
        if len(self._waiting) >= WAITING:
            self.dropped += 1
            return
        self._waiting.append(_Sample(_small(picture), cv2.resize(raster, _size(picture), interpolation=cv2.INTER_AREA)))  # type: ignore[arg-type]

    def step(self) -> tuple[Candidate, ...]:
        """Search one queued sample, if there is one, and erase it."""
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
    """Whether a person is visible. The head is the middle half of the width and the upper 16 % of the height of a person's box; a
    face counts as a whole."""
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
