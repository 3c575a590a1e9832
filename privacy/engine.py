"""The frame path between camera and encoder without threads: what `lykta mask` runs over a file.

The cadence is fixed in frames, so that the same file gives the same masks under any load. The camera service runs the
same delay line and masker with the detector on a thread of its own (`agent.pipeline`).
"""

from __future__ import annotations

from collections.abc import Iterator

from privacy.delay import DelayLine, Seen
from privacy.detection import Detector, flaw
from privacy.frames import Frame, MaskedFrame
from privacy.masking import Masker

# Seconds between detections: well inside the bound of 0.7 s, also when a frame is lost.
CADENCE = 0.5


def cadence(fps: float) -> int:
    """Frames from one detection to the next."""
    return max(1, int(CADENCE * fps))


def look(detector: Detector, frame: Frame) -> Seen:
    """Ask the detector about one frame; whatever goes wrong is an answer that says nothing but why."""
    try:
        answer = detector.detect(frame)
    except Exception as problem:  # noqa: BLE001 - a network may raise anything; the frame is then fully masked, counted, told
        return Seen(frame.mono_ns, cause="detector_error", detail=f"{type(problem).__name__}: {problem}")
    absurd = flaw(answer, frame.width, frame.height)
    return Seen(frame.mono_ns, cause="detector_absurd", detail=absurd) if absurd else Seen(frame.mono_ns, answer)


class Engine:
    """Frames in, masked frames out, the same number in the same order."""

    def __init__(self, detector: Detector, masker: Masker, line: DelayLine, every: int) -> None:
        self._detector, self._masker, self._line, self._every = detector, masker, line, every
        self._last: Frame | None = None

    def feed(self, frame: Frame) -> Iterator[MaskedFrame]:
        self._line.push(frame)
        self._last = frame
        if frame.index % self._every == 0:
            self._look(frame)
        for ready, verdict in self._line.release(frame.mono_ns):
            yield self._masker.mask(ready, verdict)

    def end(self) -> Iterator[MaskedFrame]:
        """The frames still in the line; the last one is looked at whatever the cadence says."""
        if self._last is not None and self._last.index % self._every:
            self._look(self._last)
        for ready, verdict in self._line.flush():
            yield self._masker.mask(ready, verdict)

    def _look(self, frame: Frame) -> None:
        self._line.learn(look(self._detector, frame))
