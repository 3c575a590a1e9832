"""The state of the camera service. Pure: facts in, state out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from agent.messages import Owner, StateName
from privacy.records.basis import BASIS_EXPIRED, ZONE_UNKNOWN, Ruling

CAMERA_FROZEN, DARK = "camera_frozen", "dark"
BLIND_S = 5.0
"""Time without a detection result after which the node counts as blind."""
DARK_SHARE = 0.9
"""Share of the picture that is too dark to find people in, and painted, from which the node counts as in the dark."""
LIGHT_S = 30.0
"""Light that lasts so long ends a darkness; what is shorter is the headlights of a passing car."""
_CLOSED: Final[Mapping[str, Owner]] = {BASIS_EXPIRED: "lawyer", ZONE_UNKNOWN: "technician"}
"""Rulings that close the lens although the node should film, and who has to act. All others are lawful rest."""


class CameraFacts(Struct, frozen=True):
    """cause: why frames are fully masked now, "" if they are not.

    blind_s   seconds without a detection result; darkness is not counted
    dark_s    seconds of darkness, and most_dark_s of it, after which the node is blind; 0: darkness is expected here
    stalled   the stalled thread, as a code; events, clips: why the disk refuses them, as a code; each "" without a fault
    until     when the hours end
    """

    cause: str
    blind_s: float
    dark_s: float
    most_dark_s: float
    stalled: str
    events: str
    clips: str
    until: datetime | None


class StateDecision(Struct, frozen=True):
    """A state, its reason, its end, and who has to act."""

    state: StateName
    reason: str
    owner: Owner = "nobody"
    until: datetime | None = None


class Darkness:
    """For how long it has been dark. Times in seconds, monotonic."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._last_s = 0.0

    def see(self, dark: bool, now_s: float) -> float:
        """Seconds of the present darkness, 0 without one. Light that is shorter than `LIGHT_S` does not end it."""
        if dark:
            self._since_s = now_s if self._since_s is None else self._since_s
            self._last_s = now_s
        elif self._since_s is not None and now_s - self._last_s >= LIGHT_S:
            self._since_s = None
        return now_s - self._since_s if self._since_s is not None else 0.0


def closed(ruling: Ruling, stalled: str) -> StateDecision:
    """The state while the records keep the lens closed.

    A fault is never `off`: an expired basis is a node that should film and cannot.
    stalled  code of a stalled thread, "" if there is none
    """
    if ruling.reason in _CLOSED:
        return StateDecision("blind", ruling.reason, _CLOSED[ruling.reason])
    if stalled:
        return StateDecision("degraded", stalled, "technician")
    return StateDecision("off", ruling.reason, until=ruling.until)


def paused(until: datetime, stalled: str) -> StateDecision:
    """The state while operations have paused the camera; a stalled thread is told instead."""
    return StateDecision("degraded", stalled, "technician") if stalled else StateDecision("off", "paused", "ops", until)


def state_of(facts: CameraFacts) -> StateDecision:
    """The state while the camera films. Frames fully masked for lack of detection results make the node blind; so does darkness
    that lasts longer than this stop's light may be away."""
    if facts.cause == CAMERA_FROZEN:
        return StateDecision("blind", CAMERA_FROZEN, "technician")
    if facts.blind_s > BLIND_S:
        return StateDecision("blind", facts.cause if facts.cause.startswith("view_") else "detector_down", "technician")
    if facts.dark_s > BLIND_S:
        blind = 0 < facts.most_dark_s <= facts.dark_s
        return StateDecision("blind" if blind else "degraded", "too_dark", "technician")
    if facts.stalled:
        return StateDecision("degraded", facts.stalled, "technician")
    if facts.events:
        return StateDecision("degraded", facts.events, "ops")
    if facts.clips:
        return StateDecision("degraded", facts.clips, "ops")
    return StateDecision("ready", "filming", until=facts.until)
