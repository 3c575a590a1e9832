"""The frame path between camera and encoder: raw frames in, masked frames out, the same number in the same order.

`FramePath` joins what looks at frames (the detector, the light, the second gate of `strict`) with what paints them. The
camera service gives it answers from a thread of its own (`agent.pipeline`); `Engine` runs it over a file at a fixed cadence,
so that the same file gives the same masks under any load.
"""

from __future__ import annotations

from collections.abc import Iterator

from privacy.background import BackgroundGate
from privacy.delay import DelayLine, Seen, Verdict
from privacy.detection import Detector, flaw
from privacy.frames import Frame, MaskedFrame
from privacy.light import dark_regions, small_luma
from privacy.masking import Masker

# Seconds between looks, at most: inside the bound of 0.7 s also when a frame is lost.
CADENCE = 0.6
# On a node: as often as costs this share of one core, between these bounds.
LEAST = 0.3
SHARE = 0.1
SECOND = 1_000_000_000
# Long side of the small picture that the view guard compares.
GUARD_SIDE = 160


def cadence(fps: float) -> int:
    """Frames from one look to the next."""
    return max(1, int(CADENCE * fps + 1e-6))


def look(detector: Detector, frame: Frame, *, guard: bool = False) -> Seen:
    """Ask the detector about one frame; whatever goes wrong is an answer that says nothing but why."""
    try:
        answer = detector.detect(frame)
    except Exception as problem:  # noqa: BLE001 - a network may raise anything; the frame is then fully masked, counted, told
        return Seen(frame.mono_ns, cause="detector_error", detail=f"{type(problem).__name__}: {problem}")
    absurd = flaw(answer, frame.width, frame.height)
    if absurd:
        return Seen(frame.mono_ns, cause="detector_absurd", detail=absurd)
    luma = small_luma(frame, GUARD_SIDE) if guard else None
    return Seen(frame.mono_ns, answer, dark_regions(frame), luma)


class Pace:
    """When a node looks next: it adapts to its load, within the bound. Times in nanoseconds."""

    def __init__(self) -> None:
        self._every = round(LEAST * SECOND)
        self._asked: int | None = None
        self._before: int | None = None

    def due(self, frame_ns: int) -> bool:
        """Whether this frame is looked at: if the next one would be too late. The caller then asks."""
        step = frame_ns - self._before if self._before is not None else 0
        self._before = frame_ns
        return self._asked is None or frame_ns + step - self._asked > self._every

    def asked(self, frame_ns: int) -> None:
        self._asked = frame_ns

    def took(self, lasted_ns: int) -> None:
        """A look took so long by the clock."""
        self._every = round(min(max(lasted_ns / SHARE, LEAST * SECOND), CADENCE * SECOND))


class FramePath:
    """Frames and answers in, masked frames out. Not thread-safe: one thread pushes, learns and takes.

    hidden   set from outside: why everything must be masked for now (the view guard), or empty
    """

    def __init__(self, masker: Masker, line: DelayLine | None = None) -> None:
        self._masker, self._line = masker, line if line is not None else DelayLine(masker.width, masker.height)
        self._gate = BackgroundGate(masker.width, masker.height) if masker.profile == "strict" else None
        self.hidden = ""

    def push(self, frame: Frame) -> None:
        self._line.push(frame)

    def learn(self, seen: Seen) -> None:
        self._line.learn(seen)

    def ready(self, now_ns: int) -> Iterator[MaskedFrame]:
        """Frames whose mask is known, or that may wait no longer, oldest first."""
        for frame, verdict in self._line.release(now_ns):
            yield self._paint(frame, verdict)

    def end(self) -> Iterator[MaskedFrame]:
        """All that is left at the end of the source."""
        for frame, verdict in self._line.flush():
            yield self._paint(frame, verdict)

    @property
    def learned(self) -> int:
        """Regions of foreground that the second gate took for background after ten minutes without a person."""
        return self._gate.learned if self._gate else 0

    def _paint(self, frame: Frame, verdict: Verdict) -> MaskedFrame:
        if self._gate and verdict.cause != "mode":
            verdict = self._gate.judge(frame, verdict)
        return self._masker.mask(frame, Verdict(cause=self.hidden) if self.hidden else verdict)


class Engine:
    """A frame path that looks at every `every`-th frame itself."""

    def __init__(self, detector: Detector, masker: Masker, every: int) -> None:
        self._detector, self._path, self._every = detector, FramePath(masker), every
        self._last: Frame | None = None

    def feed(self, frame: Frame) -> Iterator[MaskedFrame]:
        self._path.push(frame)
        self._last = frame
        if frame.index % self._every == 0:
            self._path.learn(look(self._detector, frame))
        yield from self._path.ready(frame.mono_ns)

    def end(self) -> Iterator[MaskedFrame]:
        """The frames still in the line; the last one is looked at whatever the cadence says."""
        if self._last is not None and self._last.index % self._every:
            self._path.learn(look(self._detector, self._last))
        yield from self._path.end()
