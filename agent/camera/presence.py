"""Presence: how full the stop is, in classes, from detections of high confidence. Never a count, never a place (R44)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from agent.messages import Presence
from privacy.masking.detection import Detection

Level = Literal["none", "few", "some", "crowd"]
LEVELS: tuple[Level, ...] = ("none", "few", "some", "crowd")
# Masking uses a low threshold ("could be a person"), events a high one, or every shadow would start a clip.
SURE = 0.35
_STEADY = 2


def level(detections: tuple[Detection, ...]) -> Level:
    people = sum(found.kind == "person" and found.score >= SURE for found in detections)
    if people == 0:
        return "none"
    return "few" if people <= 2 else "some" if people <= 6 else "crowd"


class PresenceWatch:
    """Turns levels into changes: a new level counts once it was seen twice in a row."""

    def __init__(self) -> None:
        self.now: Level = "none"
        self._next: Level = "none"
        self._times = 0
        self._since: datetime | None = None

    def see(self, detections: tuple[Detection, ...], at: datetime) -> Presence | None:
        """The change that this detection completes, dated by the first detection of the new level; None without one."""
        found = level(detections)
        if found != self._next:
            self._next, self._times, self._since = found, 0, at
        self._times += 1
        if found == self.now or self._times < _STEADY or self._since is None:
            return None
        self.now = found
        return Presence(found, self._since)


def rises(before: Level, after: Level) -> bool:
    """Whether a change triggers a clip: more people than before."""
    return LEVELS.index(after) > LEVELS.index(before)
