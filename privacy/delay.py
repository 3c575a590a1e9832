"""The delay line: frames wait until it is known who stood in the picture before and after them.

A person found at one moment and at the next one is masked over the hull of both places for all frames between; a person
who is lost is held for a second. A frame for which nothing is known in time leaves fully masked, with the cause (R18).
Measured on labelled video: with both neighbours' detections no head is bare up to 0.7 s between detections; beyond
that it falls off a cliff (docs/decisions/0010), hence a bound in seconds and not in frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from privacy.detection import Detection
from privacy.frames import Frame
from privacy.regions import Region, grow

SECOND = 1_000_000_000
GAP_NS = 7 * SECOND // 10
HOLD_NS = SECOND
PATIENCE_NS = 9 * SECOND // 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to paint over one frame: these regions, or everything, because of `cause`."""

    regions: tuple[Region, ...] = ()
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """The answer of the detector for the picture taken at `mono_ns`; a `cause` says that it has none, `detail` why."""

    mono_ns: int
    detections: tuple[Detection, ...] = ()
    cause: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Held:
    """A region and when the detector last saw it."""

    region: Region
    seen_ns: int


@dataclass(frozen=True, slots=True)
class _Span:
    """What holds for all frames after `begin_ns` up to and with `end_ns`."""

    begin_ns: int
    end_ns: int
    verdict: Verdict


class DelayLine:
    """Holds frames until their verdict is known. Not thread-safe: one thread pushes, learns and releases."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._frames: deque[Frame] = deque()
        self._spans: deque[_Span] = deque()
        self._held: tuple[_Held, ...] = ()
        self._last_ns: int | None = None
        self._left_ns = -1
        self._trouble = "start"

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, frame: Frame) -> None:
        """Take the newest frame; frames come in the order of time."""
        self._frames.append(frame)

    def learn(self, seen: Seen) -> None:
        """Take an answer of the detector, oldest first. One for a frame that already left is not trusted: its picture
        may have been painted or reused while the detector looked at it."""
        if seen.mono_ns <= self._left_ns:
            self._trouble = "late"
        elif seen.cause:
            self._trouble = seen.cause
        else:
            self._join(seen)

    def release(self, now_ns: int) -> Iterator[tuple[Frame, Verdict]]:
        """Frames that may leave now, oldest first."""
        while self._frames:
            verdict = self._verdict(self._frames[0].mono_ns, now_ns)
            if verdict is None:
                return
            yield self._leave(), verdict

    def flush(self) -> Iterator[tuple[Frame, Verdict]]:
        """All frames at the end of the source; whatever is not known leaves fully masked."""
        while self._frames:
            known = self._known(self._frames[0].mono_ns)
            yield self._leave(), known or Verdict(cause=self._trouble or "late")

    def _leave(self) -> Frame:
        frame = self._frames.popleft()
        self._left_ns = frame.mono_ns
        return frame

    def _verdict(self, at_ns: int, now_ns: int) -> Verdict | None:
        known = self._known(at_ns)
        if known is None and now_ns - at_ns > PATIENCE_NS:
            return Verdict(cause=self._trouble or "late")
        return known

    def _known(self, at_ns: int) -> Verdict | None:
        while self._spans and self._spans[0].end_ns < at_ns:
            self._spans.popleft()
        if not self._spans:
            return None
        span = self._spans[0]
        return span.verdict if span.begin_ns < at_ns else Verdict(cause="start")

    def _join(self, seen: Seen) -> None:
        """Close the span from the last answer to this one."""
        now = tuple(grow(found, *self._size) for found in seen.detections)
        last_ns = self._last_ns if self._last_ns is not None else seen.mono_ns - 1
        before = tuple(held.region for held in self._held)
        pairs = _match(before, now)
        lost = [i for i in range(len(before)) if i not in pairs]
        hulls = [before[i].hull(now[j]) for i, j in pairs.items()]
        new = [now[j] for j in range(len(now)) if j not in set(pairs.values())]
        regions = (*hulls, *(before[i] for i in lost), *new)
        cause = "gap" if seen.mono_ns - last_ns > GAP_NS else ""
        self._spans.append(_Span(last_ns, seen.mono_ns, Verdict(() if cause else regions, cause)))
        still = (self._held[i] for i in lost if seen.mono_ns - self._held[i].seen_ns < HOLD_NS)
        self._held = (*(_Held(region, seen.mono_ns) for region in now), *still)
        self._last_ns, self._trouble = seen.mono_ns, ""


def _match(before: tuple[Region, ...], now: tuple[Region, ...], least: float = 0.1) -> dict[int, int]:
    """Pairs before→now, each used once, best overlap first (greedy: people are few, and a wrong pair only masks more)."""
    found = [(a.overlap(b), i, j) for i, a in enumerate(before) for j, b in enumerate(now) if a.part == b.part]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for share, i, j in sorted(found, reverse=True):
        if share >= least and i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs
