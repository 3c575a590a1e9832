"""The frame path between camera and encoder: raw frames in, masked frames out, the same number in the same order.

`FramePath` connects the delay line, the second gate of `strict` and the masker. In the camera service the detector runs in a
thread of its own (`agent.camera.pipeline`). `Engine` processes a file and runs the detector by the file's time stamps, so that
the same file gives the same masks under any load.

A look is one run of the detector on a frame.
"""

from __future__ import annotations

from collections.abc import Iterator

from privacy.errors import CrowdError
from privacy.masking.background.gate import BackgroundGate
from privacy.masking.background.learned import LearnedBackground
from privacy.masking.delay import DelayLine, Seen, Verdict
from privacy.masking.detection import Detector, crowded, flaw
from privacy.masking.frames import Frame, MaskedFrame
from privacy.masking.frozen_camera import fingerprint
from privacy.masking.light import dark_regions, focus, small_luma
from privacy.masking.masker import Masker

# Seconds between looks: always in a file; on a node as long as the looks take no more than this share of one core.
CADENCE = 0.3
SHARE = 0.1
# The longest interval on a node, seconds: within the limit of 0.7 s even if a frame is lost.
SLOWEST = 0.6
SECOND = 1_000_000_000
# With a margin for time stamps that are rounded to milliseconds.
CADENCE_NS = round(CADENCE * SECOND) + 5_000_000
# Long side of the small picture that the view guard compares.
GUARD_SIDE = 160


def cadence(fps: float) -> int:
    """Frames from one look to the next."""
    return max(1, int(CADENCE * fps + 1e-6))


def look(detector: Detector, frame: Frame, *, guard: bool = False) -> Seen:
    """Run the detector on one frame. Any failure is returned as a result with its cause. guard: add the data for the view guard."""
    try:
        answer = detector.detect(frame)
    except CrowdError as problem:
        return Seen(frame.mono_ns, cause="crowd", detail=str(problem))
    except Exception as problem:  # noqa: BLE001 - a network may raise any exception; the frame is then fully masked and counted
        return Seen(frame.mono_ns, cause="detector_error", detail=f"{type(problem).__name__}: {problem}")
    if crowded(answer):
        return Seen(frame.mono_ns, cause="crowd", detail=f"{len(answer)} finds in one picture")
    absurd = flaw(answer, frame.width, frame.height)
    if absurd:
        return Seen(frame.mono_ns, cause="detector_absurd", detail=absurd)
    if not guard:
        return Seen(frame.mono_ns, answer, dark_regions(frame))
    luma = small_luma(frame, GUARD_SIDE)
    return Seen(frame.mono_ns, answer, dark_regions(frame), luma, fingerprint(frame), focus(frame))


class Pace:
    """Decides which frames a node looks at: the interval adapts to the load, within the limits. Times in nanoseconds."""

    def __init__(self) -> None:
        self._every = round(CADENCE * SECOND)
        self._asked: int | None = None
        self._before: int | None = None

    def due(self, frame_ns: int) -> bool:
        """Whether to look at this frame, because the next one would be too late."""
        step = frame_ns - self._before if self._before is not None else 0
        self._before = frame_ns
        return self._asked is None or frame_ns + step - self._asked > self._every

    def asked(self, frame_ns: int) -> None:
        """A look at this frame was started."""
        self._asked = frame_ns

    def took(self, lasted_ns: int) -> None:
        """A look took so many nanoseconds."""
        self._every = round(min(max(lasted_ns / SHARE, CADENCE * SECOND), SLOWEST * SECOND))


class FramePath:
    """Takes frames and results of looks, returns masked frames. Not thread-safe: one thread makes all calls.

    hidden   set by the caller: why everything must be masked at present (the view guard), or ""
    """

    def __init__(self, masker: Masker, line: DelayLine | None = None, learned: LearnedBackground | None = None) -> None:
        self._masker, self._line = masker, line if line is not None else DelayLine(masker.width, masker.height)
        self._gate = BackgroundGate(masker.width, masker.height, learned) if masker.profile == "strict" else None
        self.hidden = ""

    def push(self, frame: Frame) -> None:
        self._line.push(frame)

    def learn(self, seen: Seen) -> None:
        self._line.learn(seen)

    def ready(self, now_ns: int) -> Iterator[MaskedFrame]:
        """Masked frames whose mask is known, or whose waiting time is over, oldest first."""
        for frame, verdict in self._line.release(now_ns):
            yield self._paint(frame, verdict)

    def end(self) -> Iterator[MaskedFrame]:
        """All remaining frames at the end of the source."""
        for frame, verdict in self._line.flush():
            yield self._paint(frame, verdict)

    def background(self) -> LearnedBackground | None:
        """The background that the second gate has learned so far; None in other profiles than `strict`."""
        return self._gate.background(self._masker.outside) if self._gate else None

    @property
    def learned(self) -> int:
        """Number of foreground tiles that the second gate has learned as background after ten minutes without a person."""
        return self._gate.learned if self._gate else 0

    def _paint(self, frame: Frame, verdict: Verdict) -> MaskedFrame:
        if self._gate and verdict.cause != "mode":
            verdict = self._gate.judge(frame, verdict)
        return self._masker.mask(frame, Verdict(cause=self.hidden) if self.hidden else verdict)


class Engine:
    """A frame path that also runs the detector.

    every       frames from one look to the next, at most
    within_ns   time from one look to the next, at most, by the frames' time stamps; if frames are further apart, each gets a look
    learned     background that `strict` learned of the same scene before, or None
    """

    def __init__(
        self,
        detector: Detector,
        masker: Masker,
        every: int,
        within_ns: int | None = None,
        learned: LearnedBackground | None = None,
    ) -> None:
        self._detector, self._every, self._within_ns = detector, every, within_ns
        self._path = FramePath(masker, learned=learned)
        self._last: Frame | None = None
        self._looked: Frame | None = None
        self.looks = 0

    def feed(self, frame: Frame) -> Iterator[MaskedFrame]:
        if self._last and self._looked and self._within_ns and frame.mono_ns - self._looked.mono_ns > self._within_ns:
            # The present frame is too late for a look: the last frame was the last one in time.
            self._look(self._last)
        self._path.push(frame)
        self._last = frame
        if self._looked is None or frame.index - self._looked.index >= self._every:
            self._look(frame)
        yield from self._path.ready(frame.mono_ns)

    def end(self) -> Iterator[MaskedFrame]:
        """The frames that are still in the delay line; the last one always gets a look."""
        if self._last:
            self._look(self._last)
        yield from self._path.end()

    def background(self) -> LearnedBackground | None:
        """The background that `strict` has learned so far; None in other profiles."""
        return self._path.background()

    def _look(self, frame: Frame) -> None:
        if frame is not self._looked:
            self._looked = frame
            self.looks += 1
            self._path.learn(look(self._detector, frame))
