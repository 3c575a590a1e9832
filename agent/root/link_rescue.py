"""The steps (rungs) to restore a dead link: which is due, and what forbids it. Pure: facts in, decision out.

15 minutes without a broker: a new connection. 30: a power cycle of the modem, as a hanging modem is the commonest fault of a
remote node. 6 hours: a reboot, at most once in a day of powered time, not in assessed hours, nor while a clip is under a hold or a
call for help is open. The day is counted in powered time, so that a wrong clock cannot shorten it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

MINUTE = 60_000
RECONNECT_MS, MODEM_MS, REBOOT_MS = 15 * MINUTE, 30 * MINUTE, 360 * MINUTE
RECONNECT_AGAIN_MS, MODEM_AGAIN_MS, REBOOT_AGAIN_MS = 30 * MINUTE, 120 * MINUTE, 24 * 60 * MINUTE
Count = Annotated[int, Meta(ge=0, le=10**13)]
Rung = Literal["reconnect", "modem", "reboot"]
Refusal = Literal["hours", "hold", "help", "daily"]


class RescueState(Struct, frozen=True):
    """State that is kept from run to run, and over a reboot.

    heard_ms      since boot: when the broker was last connected, or the boot itself
    reconnect_ms, modem_ms   since boot: of the last new connection and the last power cycle of the modem, None if not in this boot
    powered_ms    in all boots together; rebooted_ms: its value at the last reboot by this command, None if never
    told          refusals in this outage that were reported already
    """

    boot_id: str
    seen_ms: Count = 0
    heard_ms: Annotated[int, Meta(ge=-(10**13), le=10**13)] = 0
    reconnect_ms: Count | None = None
    modem_ms: Count | None = None
    powered_ms: Count = 0
    rebooted_ms: Count | None = None
    told: tuple[str, ...] = ()

    def now(self, boot_id: str, now_ms: int, connected: bool) -> RescueState:
        """The state updated to this moment."""
        same = boot_id == self.boot_id
        powered = self.powered_ms + max(0, now_ms - self.seen_ms if same else now_ms)
        base = self if same else RescueState(boot_id, rebooted_ms=self.rebooted_ms, told=self.told)
        base = msgspec.structs.replace(base, seen_ms=now_ms, powered_ms=powered)
        if connected:
            return msgspec.structs.replace(base, heard_ms=now_ms, reconnect_ms=None, modem_ms=None, told=())
        return base

    @property
    def quiet_ms(self) -> int:
        return self.seen_ms - self.heard_ms


class RescueFacts(Struct, frozen=True):
    """Facts that forbid a reboot. hours: the camera may film now; hold: a clip is held; call: for help, open or unknown."""

    hours: bool
    hold: bool
    call: bool


class Decision(Struct, frozen=True):
    rung: Rung | None = None
    refusal: Refusal | None = None


def decide(state: RescueState, facts: RescueFacts) -> Decision:
    """The strongest step that is due and allowed, and why a reboot that is due is not allowed."""
    refusal = _refusal(state, facts) if state.quiet_ms >= REBOOT_MS else None
    if state.quiet_ms >= REBOOT_MS and refusal is None:
        return Decision("reboot")
    if state.quiet_ms >= MODEM_MS and _due(state, state.modem_ms, MODEM_AGAIN_MS):
        return Decision("modem", refusal)
    if state.quiet_ms >= RECONNECT_MS and _due(state, state.reconnect_ms, RECONNECT_AGAIN_MS):
        return Decision("reconnect", refusal)
    return Decision(None, refusal)


def taken(state: RescueState, rung: Rung) -> RescueState:
    """The state after a step: stored before the step is taken, or a power cut in the middle would repeat it."""
    match rung:
        case "reconnect":
            return msgspec.structs.replace(state, reconnect_ms=state.seen_ms)
        case "modem":
            return msgspec.structs.replace(state, modem_ms=state.seen_ms, reconnect_ms=state.seen_ms)
        case "reboot":
            return msgspec.structs.replace(state, rebooted_ms=state.powered_ms)


def _due(state: RescueState, last_ms: int | None, again_ms: int) -> bool:
    return last_ms is None or state.seen_ms - last_ms >= again_ms


def _refusal(state: RescueState, facts: RescueFacts) -> Refusal | None:
    if facts.call:
        return "help"
    if facts.hold:
        return "hold"
    if facts.hours:
        return "hours"
    if state.rebooted_ms is not None and state.powered_ms - state.rebooted_ms < REBOOT_AGAIN_MS:
        return "daily"
    return None
