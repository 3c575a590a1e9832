"""The detector port: detects people and vehicles in a picture. Adapter: `networks.detectors`; an AI camera could be another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from privacy.masking.frames import Frame

Kind = Literal["person", "face", "vehicle"]
MOST = 500


@dataclass(frozen=True, slots=True)
class Detection:
    """One detection. Corners in pixels of the frame; they may lie outside of it. score: 0..1."""

    kind: Kind
    left: float
    top: float
    right: float
    bottom: float
    score: float


class Detector(Protocol):
    """Contract: never writes to the frame; every box is finite; raises `DetectorError` if it has no usable result.

    It need not be in time or correct: the delay line and the masker handle late and invalid results.
    """

    name: str
    models: dict[str, str]
    """File name to sha256 of what was loaded."""
    parts: tuple[Detector, ...]
    """Each network for people as a detector of its own, if there are several; else empty. For the self-test: the joint result does
    not show that each network works."""

    def detect(self, frame: Frame) -> tuple[Detection, ...]: ...


def crowded(answer: object) -> bool:
    """Whether there are more detections than can be tracked: a crowd, or a faulty detector."""
    return isinstance(answer, tuple) and len(answer) > MOST


def flaw(answer: object, width: int, height: int) -> str:
    """What makes a detector's answer invalid; "" if it is valid. width, height: of the frame, pixels."""
    if not isinstance(answer, tuple) or len(answer) > MOST:
        return f"not a tuple of at most {MOST} detections"
    for found in answer:
        if not isinstance(found, Detection) or found.kind not in get_args(Kind):
            return f"{type(found).__name__} is not a detection of a known kind"
        corners = (found.left, found.top, found.right, found.bottom, found.score)
        if not all(math.isfinite(value) for value in corners):
            return f"a box that is not finite: {corners}"
        wide, high = found.right - found.left, found.bottom - found.top
        if not (0 < wide <= 2 * width and 0 < high <= 2 * height):
            return f"a box of {wide:.0f}x{high:.0f} pixels in a picture of {width}x{height}"
    return ""
