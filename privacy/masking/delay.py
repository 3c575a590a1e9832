"""The delay line: holds frames until the looks (runs of the detector) before and after them are known.

People are masked along their way between two looks (`privacy.masking.tracking`). A frame without looks in time leaves fully
masked, with the cause (R18). Measured on labelled video: with looks up to 0.7 s apart no head is visible; beyond that the result
becomes much worse (docs/decisions/0010). The limit is therefore in seconds, not in frames. Differences between a frame and the
looks around it are masked too (`changes`); for that a frame waits for one more look, if it comes in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from privacy.masking.changes import Around, tiles_luma, usual
from privacy.masking.detection import Detection
from privacy.masking.frames import Frame, Plane
from privacy.masking.light import JumpWatch
from privacy.masking.regions import Region
from privacy.masking.tracking import SECOND, Tracker, Trajectories

GAP_NS = 7 * SECOND // 10
PATIENCE_NS = 9 * SECOND // 10
# How long a frame that has its verdict waits for the look after the next one: two looks 0.3 s apart and their answers, but no
# longer than the camera has free buffers.
PAUSE_NS = SECOND
# After a jump of the exposure the picture settles; looks during this time are not used (R19).
SETTLE_NS = 3 * SECOND // 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to mask in one frame.

    regions   rectangles to paint
    cause     why the whole frame must be painted; "" if it need not
    found     the detections in this frame; None if the detector did not run on it
    """

    regions: tuple[Region, ...] = ()
    cause: str = ""
    found: tuple[Detection, ...] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one look.

    mono_ns       exposure time of the frame, monotonic
    detections    what the detector found
    dark          regions that are too dark to detect people in
    luma          small luma picture for the view guard; None if it is not needed
    fingerprint   of the raw picture, to detect a camera that repeats itself; None if it is not needed, or if it is too dark
    focus         how sharp the raw picture is; None if it is not needed
    cause         stable code of why there is no result; "" if there is one
    detail        more about the cause
    """

    mono_ns: int
    detections: tuple[Detection, ...] = ()
    dark: tuple[Region, ...] = ()
    luma: Plane | None = None
    fingerprint: int | None = None
    focus: float | None = None
    cause: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Span:
    """The results for all frames after `begin_ns`, up to and including `end_ns`.

    found      detections at the look at its end
    cause      why these frames must be fully masked; "" if they need not
    complete   the look after the next one is known, too
    """

    begin_ns: int
    end_ns: int
    trajectories: Trajectories
    found: tuple[Detection, ...]
    dark: tuple[Region, ...]
    cause: str
    around: Around
    complete: bool = False


class DelayLine:
    """Holds frames until their verdict is known. Not thread-safe: one thread pushes, learns and releases."""

    gap_ns, patience_ns, pause_ns, settle_ns = GAP_NS, PATIENCE_NS, PAUSE_NS, SETTLE_NS

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._frames: deque[tuple[Frame, Plane]] = deque()
        self._spans: deque[_Span] = deque()
        self._tracker, self._light = Tracker(width, height), JumpWatch()
        self._dark: tuple[Region, ...] = ()
        self._last_ns: int | None = None
        self._looks: deque[Plane] = deque(maxlen=4)
        self._left_ns = -1
        self._jumps: deque[int] = deque(maxlen=64)
        self._trouble = "start"

    def push(self, frame: Frame) -> None:
        """Take the next frame; frames must come in the order of time."""
        if self._light.jumped(frame) or (frame.width, frame.height) != self._size:
            self._jumps.append(frame.mono_ns)
        self._frames.append((frame, tiles_luma(frame)))

    def learn(self, seen: Seen) -> None:
        """Take the result of a look, oldest first. A result for a frame that has already left is not used: its buffer may have been
        painted or reused while the detector read it."""
        if seen.mono_ns <= self._left_ns:
            self._trouble = "late"
        elif seen.cause:
            self._trouble = seen.cause
        elif self._unsettled(seen.mono_ns):
            self._trouble = "exposure"
        else:
            self._join(seen)

    def release(self, now_ns: int) -> Iterator[tuple[Frame, Verdict]]:
        """Frames that may leave now, oldest first, each with its verdict."""
        while self._frames:
            verdict = self._verdict(*self._frames[0], now_ns)
            if verdict is None:
                return
            yield self._leave(), verdict

    def flush(self) -> Iterator[tuple[Frame, Verdict]]:
        """All remaining frames at the end of the source; a frame without looks leaves fully masked."""
        while self._frames:
            frame, tiles = self._frames[0]
            cause = self._cause(frame)
            verdict = Verdict(cause=self._trouble or "late") if cause is None else self._masks(frame, tiles, cause)
            yield self._leave(), verdict

    def _leave(self) -> Frame:
        frame, _ = self._frames.popleft()
        self._left_ns = frame.mono_ns
        return frame

    def _verdict(self, frame: Frame, tiles: Plane, now_ns: int) -> Verdict | None:
        waited_ns, cause = now_ns - frame.mono_ns, self._cause(frame)
        if cause is None:
            return Verdict(cause=self._trouble or "late") if waited_ns > self.patience_ns else None
        if not cause and not self._spans[0].complete and waited_ns <= self.pause_ns:
            return None
        return self._masks(frame, tiles, cause)

    def _cause(self, frame: Frame) -> str | None:
        """Why a frame must be fully masked; "" if its masks are known; None if its looks are not known yet."""
        at_ns = frame.mono_ns
        if (frame.width, frame.height) != self._size:
            return "mode"
        while self._spans and self._spans[0].end_ns < at_ns:
            self._spans.popleft()
        if not self._spans:
            return None
        span = self._spans[0]
        if span.begin_ns >= at_ns:
            return "start"
        return "exposure" if self._unsettled(at_ns) else span.cause

    def _masks(self, frame: Frame, tiles: Plane, cause: str) -> Verdict:
        if cause:
            return Verdict(cause=cause)
        span = self._spans[0]
        share = (frame.mono_ns - span.begin_ns) / (span.end_ns - span.begin_ns)
        changes = span.around.regions(tiles, *self._size)
        found = span.found if frame.mono_ns == span.end_ns else None
        return Verdict((*span.dark, *changes, *span.trajectories.regions(share, *self._size)), found=found)

    def _unsettled(self, at_ns: int) -> bool:
        return any(jump <= at_ns < jump + self.settle_ns for jump in self._jumps)

    def _join(self, seen: Seen) -> None:
        """Add the span from the last look to this one."""
        first = self._last_ns is None
        last_ns = seen.mono_ns - 1 if self._last_ns is None else self._last_ns
        tiles = next((tiles for frame, tiles in self._frames if frame.mono_ns == seen.mono_ns), None)
        if seen.mono_ns <= last_ns or tiles is None:
            self._trouble = "order"
            return
        trajectories = self._tracker.step(seen.mono_ns, seen.detections)
        cause = "gap" if seen.mono_ns - last_ns > self.gap_ns else ""
        dark = seen.dark if first or seen.dark == self._dark else (*self._dark, *seen.dark)
        self._spans.append(_Span(last_ns, seen.mono_ns, trajectories, seen.detections, dark, cause, self._compare(tiles)))
        self._last_ns, self._dark, self._trouble = seen.mono_ns, seen.dark, ""

    def _compare(self, tiles: Plane) -> Around:
        """The looks with which the frames before this look are compared; also completes those of the span before."""
        self._looks.append(tiles)
        seen = list(self._looks)
        if self._spans:
            last = self._spans.pop()
            self._spans.append(replace(last, around=replace(last.around, usual=usual(seen)), complete=True))
        return Around(seen[-2] if len(seen) > 1 else tiles, tiles, usual(seen[-3:]))
