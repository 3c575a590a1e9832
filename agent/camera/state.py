"""The state of the camera service while it films. Pure: facts in, state out."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from agent.messages import Owner, StateName

CAMERA_FROZEN = "camera_frozen"
BLIND_S = 5.0
"""Time without a detection result after which the node counts as blind."""


class CameraFacts(Struct, frozen=True):
    """cause: why frames are fully masked now, "" if they are not; blind_s: seconds without a detection result.

    stalled   the stalled thread, as a code; events, clips: why the disk refuses them, as a code; each "" without a fault
    until     when the hours end
    """

    cause: str
    blind_s: float
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


def state_of(facts: CameraFacts) -> StateDecision:
    """Frames fully masked for lack of detection results make the node blind; darkness does not."""
    if facts.cause == CAMERA_FROZEN:
        return StateDecision("blind", CAMERA_FROZEN, "technician")
    if facts.blind_s > BLIND_S:
        if facts.cause == "dark":
            return StateDecision("degraded", "too_dark", "technician")
        return StateDecision("blind", facts.cause if facts.cause.startswith("view_") else "detector_down", "technician")
    if facts.stalled:
        return StateDecision("degraded", facts.stalled, "technician")
    if facts.events:
        return StateDecision("degraded", facts.events, "ops")
    if facts.clips:
        return StateDecision("degraded", facts.clips, "ops")
    return StateDecision("ready", "filming", until=facts.until)
