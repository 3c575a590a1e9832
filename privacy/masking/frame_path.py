"""The frame path between camera and encoder: raw frames in, masked frames out, the same number in the same order.

`FramePath` joins what looks at frames (the detector, the light, the second gate of `strict`) with what paints them. The
camera service gives it answers from a thread of its own (`agent.camera.pipeline`); `Engine` runs it over a file and looks by the
file's own time stamps, so that the same file gives the same masks under any load.
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
from privacy.masking.light import dark_regions, small_luma
from privacy.masking.masker import Masker

# Seconds between looks: in a file always, on a node as often as that costs no more than this share of one core.
CADENCE = 0.3
SHARE = 0.1
# And on a node at most: inside the bound of 0.7 s also when a frame is lost.
SLOWEST = 0.6
SECOND = 1_000_000_000
# With a little for stamps that are rounded to milliseconds.
CADENCE_NS = round(CADENCE * SECOND) + 5_000_000
# Long side of the small picture that the view guard compares.
GUARD_SIDE = 160


def cadence(fps: float) -> int:
    """Frames from one look to the next."""
    return max(1, int(CADENCE * fps + 1e-6))


def look(detector: Detector, frame: Frame, *, guard: bool = False) -> Seen:
    """Ask the detector about one frame; whatever goes wrong is an answer that says nothing but why."""
    try:
        answer = detector.detect(frame)
    except CrowdError as problem:
        return Seen(frame.mono_ns, cause="crowd", detail=str(problem))
    except Exception as problem:  # noqa: BLE001 - a network may raise anything; the frame is then fully masked, counted, told
        return Seen(frame.mono_ns, cause="detector_error", detail=f"{type(problem).__name__}: {problem}")
    if crowded(answer):
        return Seen(frame.mono_ns, cause="crowd", detail=f"{len(answer)} finds in one picture")
    absurd = flaw(answer, frame.width, frame.height)
    if absurd:
        return Seen(frame.mono_ns, cause="detector_absurd", detail=absurd)
    if not guard:
        return Seen(frame.mono_ns, answer, dark_regions(frame))
    luma = small_luma(frame, GUARD_SIDE)
    return Seen(frame.mono_ns, answer, dark_regions(frame), luma, fingerprint(frame))


class Pace:
    """When a node looks next: it adapts to its load, within the bound. Times in nanoseconds."""

    def __init__(self) -> None:
        self._every = round(CADENCE * SECOND)
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
        self._every = round(min(max(lasted_ns / SHARE, CADENCE * SECOND), SLOWEST * SECOND))


class FramePath:
    """Frames and answers in, masked frames out. Not thread-safe: one thread pushes, learns and takes.

    hidden   set from outside: why everything must be masked for now (the view guard), or empty
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
        """Frames whose mask is known, or that may wait no longer, oldest first."""
        for frame, verdict in self._line.release(now_ns):
            yield self._paint(frame, verdict)

    def end(self) -> Iterator[MaskedFrame]:
        """All that is left at the end of the source."""
        for frame, verdict in self._line.flush():
            yield self._paint(frame, verdict)

    def background(self) -> LearnedBackground | None:
        """What the second gate knows of the empty place by now, if there is one."""
        return self._gate.background(self._masker.outside) if self._gate else None

    @property
    def learned(self) -> int:
        """Tiles of foreground that the second gate took for background after ten minutes in which they were no person's."""
        return self._gate.learned if self._gate else 0

    def _paint(self, frame: Frame, verdict: Verdict) -> MaskedFrame:
        if self._gate and verdict.cause != "mode":
            verdict = self._gate.judge(frame, verdict)
        return self._masker.mask(frame, Verdict(cause=self.hidden) if self.hidden else verdict)


class Engine:
    """A frame path that looks by itself.

    every     frames from one look to the next, at most
    within_ns time from one look to the next, at most, by the frames' stamps; frames that are further apart are all looked at
    learned   what `strict` learned of the place before, or None
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
            # Only the next frame tells that the one before it was the last in time.
            self._look(self._last)
        self._path.push(frame)
        self._last = frame
        if self._looked is None or frame.index - self._looked.index >= self._every:
            self._look(frame)
        yield from self._path.ready(frame.mono_ns)

    def end(self) -> Iterator[MaskedFrame]:
        """The frames still in the line; the last one is looked at in any case."""
        if self._last:
            self._look(self._last)
        yield from self._path.end()

    def background(self) -> LearnedBackground | None:
        """What `strict` knows of the empty place by now; None in other profiles."""
        return self._path.background()

    def _look(self, frame: Frame) -> None:
        if frame is not self._looked:
            self._looked = frame
            self.looks += 1
            self._path.learn(look(self._detector, frame))
