"""The stop's light and the infrared one: when they are lit, and whether the lamp is dead. Pure: time and contacts from outside.

Lit in its hours, and for a while after motion or while somebody waits, in both cases only while it is dark where a sensor can
tell; always while a call for help is open. Where the time is not known, hours count as come: light is the safe side.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from agent.runtime.config import Light
from agent.runtime.hours import in_hours

SETTLE_MS = 2_000
"""After switching, a lamp and its current sensor may take so long."""


class LampFacts(Struct, frozen=True):
    """What is known now.

    dark     None without a sensor
    seen_ms  when somebody was last noticed, None if not since the start
    forced   what ops said by a command that still stands, None without
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
    """Whether current flows when it should: switched on for two seconds without any, the lamp is dead."""

    def __init__(self, *, fault: bool = False) -> None:
        self._since_ms: int | None = None
        self.fault = fault

    def see(self, on: bool, current: bool, now_ms: int) -> Literal["", "fault", "mended"]:
        """What changed. A lamp that is off tells nothing of itself."""
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
