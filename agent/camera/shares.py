"""Shares of five minutes in quarters, made of the exact counts, which do not leave the node (R44). Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from msgspec import Struct

WINDOW_S = 300.0
_STEP_S = 10.0


class Counts(Struct, frozen=True):
    """Counts since the camera was opened. distinct: frames that differ from the one before; painted: sum of painted shares."""

    frames: int
    distinct: int
    painted: float
    full: Mapping[str, int]


class Shares(Struct, frozen=True):
    """None before the first frames. fps: frames a second; the others in quarters."""

    fps: int | None = None
    distinct: float | None = None
    coverage: float | None = None
    full: float | None = None
    full_by_cause: dict[str, float] = {}


class Window:
    """The counts of the last five minutes. mono_s: seconds, monotonic."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Counts]] = deque()

    def see(self, now: Counts, mono_s: float) -> Shares:
        """Take the counts; the shares since the oldest kept ones."""
        if not self._seen or mono_s - self._seen[-1][0] >= _STEP_S:
            self._seen.append((mono_s, now))
        while mono_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        began_s, before = self._seen[0]
        frames = now.frames - before.frames
        if frames <= 0 or mono_s - began_s < _STEP_S:
            # No frame in five minutes is a rate of zero, and no share.
            return Shares(fps=0) if mono_s - began_s >= _STEP_S else Shares()
        full = {cause: quarter((count - before.full.get(cause, 0)) / frames) for cause, count in now.full.items()}
        return Shares(
            fps=round(frames / (mono_s - began_s)),
            distinct=quarter((now.distinct - before.distinct) / frames),
            coverage=quarter((now.painted - before.painted) / frames),
            full=quarter((sum(now.full.values()) - sum(before.full.values())) / frames),
            full_by_cause={cause: share for cause, share in full.items() if share},
        )


def quarter(share: float) -> float:
    """A share to the nearest quarter, 0..1."""
    return round(min(1.0, max(0.0, share)) * 4) / 4
