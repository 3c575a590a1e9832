"""Synthetic pictures and detectors for tests of the frame path."""

from __future__ import annotations

import time

import numpy as np

from privacy.masking.delay import SECOND, Seen
from privacy.masking.detection import Detection
from privacy.masking.frames import Frame
from privacy.masking.regions import Region
from privacy.masking.tracking import Tracker
from privacy.records.basis import Area, View

WIDTH, HEIGHT = 320, 180
WHOLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
CLOTHES = 230
"""Luma that only a synthetic person has."""


def view(*polygons: tuple[tuple[float, float], ...], zones: tuple[tuple[tuple[float, float], ...], ...] = ()) -> View:
    areas = tuple(Area("stop", "KBL11.5b", False, polygon) for polygon in polygons or (WHOLE,))
    return View("view-1", "basis-1", "city", "stop-1", areas, zones)


def picture(index: int, fps: float = 10, *, width: int = WIDTH, height: int = HEIGHT, stride: int = 0, luma: int = 110) -> Frame:
    buffer = np.full((height * 3 // 2, stride or width), luma, np.uint8)
    buffer[height:] = 128
    return Frame(buffer, width, height, index, round(index / fps * SECOND), round(index / fps * SECOND))


def person_at(index: int) -> tuple[int, int, int, int]:
    """A person who walks through the picture, in and out again."""
    left = -20 + 4 * index
    return left, 60, left + 20, 120


def with_person(frame: Frame) -> Frame:
    left, top, right, bottom = person_at(frame.index)
    frame.planes[0][top:bottom, max(0, left) : max(0, right)] = CLOTHES
    return frame


def visible(luma: np.ndarray) -> int:
    """Pixels of a person that can still be seen."""
    return int((luma == CLOTHES).sum())


def painted(found: tuple[Detection, ...], width: int, height: int) -> tuple[Region, ...]:
    """What the engine paints for these, if two looks find them at the same place."""
    tracker = Tracker(width, height)
    tracker.step(SECOND, found)
    return tracker.step(2 * SECOND, found).regions(1.0, width, height)


def seen(frame: Frame, found: tuple[Detection, ...] = (), cause: str = "") -> Seen:
    """The answer of a look at that frame."""
    return Seen(frame.mono_ns, cause=cause) if cause else Seen(frame.mono_ns, found)


class TruthDetector:
    """Knows where the synthetic person is."""

    name, parts = "truth", ()

    def __init__(self) -> None:
        self.models: dict[str, str] = {}

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        left, top, right, bottom = person_at(frame.index)
        if right <= 0 or left >= frame.width:
            return ()
        return (Detection("person", left, top, right, bottom, 0.9),)


class RaisingDetector(TruthDetector):
    name = "raises"

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        raise RuntimeError("the network is gone")


class NaNDetector(TruthDetector):
    name = "nan"

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        return (Detection("person", float("nan"), 0, 10, 10, 0.9),)


class GarbageDetector(TruthDetector):
    name = "garbage"

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        return "people"  # type: ignore[return-value]


class CrowdDetector(TruthDetector):
    name = "crowd"

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        return (Detection("person", 0, 0, 5, 5, 0.9),) * 10_000


class HangingDetector(TruthDetector):
    name = "hangs"

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        time.sleep(3600)
        return ()


class SlowDetector(TruthDetector):
    """Right, but two seconds late."""

    name = "slow"

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        answer = super().detect(frame)
        time.sleep(2)
        return answer


BROKEN = (RaisingDetector, NaNDetector, GarbageDetector, CrowdDetector)
