"""The stop's light and the infrared one: when they are lit, and whether the lamp is faulty. Pure: time and contacts are arguments.

Lit in its hours, and for a while after motion or while somebody waits, in both cases only while it is dark if there is a
sensor; always while a call for help is open. While the time is not known, it counts as within the hours: light is safer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from agent.runtime.config import Light
from agent.runtime.hours import in_hours

SETTLE_MS = 2_000
"""Time for a lamp and its current sensor to settle after switching."""


class LampFacts(Struct, frozen=True):
    """The inputs of the decision.

    dark     whether it is dark; None without a sensor
    seen_ms  when motion or a person was last detected, None if not since the start
    forced   on or off by a command of ops that is still valid, None without
    """

    now: datetime
    trusted: bool
    now_ms: int
    dark: bool | None
    seen_ms: int | None
    call: bool
    forced: bool | None


def lit(settings: Light, facts: LampFacts) -> bool:
    if facts.call:
        return True
    if facts.forced is not None:
        return facts.forced
    waiting = facts.seen_ms is not None and facts.now_ms - facts.seen_ms < settings.presence_s * 1000
    return facts.dark is not False and (waiting or _scheduled(settings, facts))


def _scheduled(settings: Light, facts: LampFacts) -> bool:
    return bool(settings.hours) and (not facts.trusted or in_hours(settings.hours, facts.now))


class LampWatch:
    """Checks the lamp's current: switched on for two seconds without current, the lamp is faulty."""

    def __init__(self, *, fault: bool = False) -> None:
        self._since_ms: int | None = None
        self.fault = fault

    def see(self, on: bool, current: bool, now_ms: int) -> Literal["", "fault", "mended"]:
        """The change of the lamp's condition. A lamp that is off cannot be checked."""
        if not on or current:
            self._since_ms = None
            mended = on and self.fault
            self.fault = self.fault and not on
            return "mended" if mended else ""
        self._since_ms = now_ms if self._since_ms is None else self._since_ms
        if self.fault or now_ms - self._since_ms < SETTLE_MS:
            return ""
        self.fault = True
        return "fault"
