"""Door, case, motion, the service button, the fan: the messages for each change of a contact, and the checks of each second. Pure
except for the two functions that it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from agent.messages import Alarm, Switch, Tamper
from drivers.gpio.port import Input

QUIET_MS = 60_000
"""Motion ends after this time without any."""
HELD_MS = 5_000
"""The service button counts as held after it was closed for this time."""
JAMMED_MS = 60_000
"""A help button that is closed for this time counts as jammed."""
_LONG_AGO_MS = -JAMMED_MS
FAN_ON, FAN_OFF = 60.0, 50.0
"""Degrees Celsius; the hysteresis keeps the fan from toggling at every check."""

Clear = Callable[[str], None]


class Switches:
    """say: put messages into the outbox; clear: clear the alarm of a topic; jammed: its alarm is active already."""

    def __init__(self, say: Callable[..., None], clear: Clear, *, jammed: bool = False) -> None:
        self._say, self._clear = say, clear
        self._moved_ms: int | None = None
        self._moving = False
        self._held: dict[Input, int] = {}
        self.jammed = jammed

    @property
    def moving(self) -> bool:
        return self._moving

    @property
    def moved_ms(self) -> int | None:
        """When motion was last detected; None if not since the start."""
        return self._moved_ms

    def changed(self, part: Input, closed: bool, now_ms: int, at: datetime) -> None:
        """A contact opened or closed."""
        if closed:
            self._held.setdefault(part, now_ms)
        else:
            self._held.pop(part, None)
        if part == "door":
            self._say(Switch("door", "closed" if closed else "open"))
        elif part == "tamper":
            self._case(closed, at)
        elif part == "motion" and closed:
            self._moved(now_ms)

    def found_closed(self, part: Input) -> None:
        """The contact was closed already at the start, for an unknown time."""
        self._held[part] = _LONG_AGO_MS

    def tick(self, now_ms: int) -> bool:
        """Whether the service button is held; True once for each time."""
        if self._moving and self._moved_ms is not None and "motion" not in self._held and now_ms - self._moved_ms >= QUIET_MS:
            self._moving = False
            self._say(Switch("motion", "over"))
        self._judge_button(now_ms)
        held = self._held.get("service_button")
        if held is None or now_ms - held < HELD_MS:
            return False
        del self._held["service_button"]
        return True

    def _moved(self, now_ms: int) -> None:
        self._moved_ms = now_ms
        if not self._moving:
            self._moving = True
            self._say(Switch("motion", "begun"))

    def _case(self, closed: bool, at: datetime) -> None:
        if closed:
            self._say(Tamper("case", "over", at))
            self._clear("alarm/case")
        else:
            self._say(Tamper("case", "found", at), Alarm("case", "open", ""))

    def _judge_button(self, now_ms: int) -> None:
        held = self._held.get("help_button")
        jammed = held is not None and now_ms - held >= JAMMED_MS
        if jammed and not self.jammed:
            self._say(Alarm("help_button", "jammed", ""))
        elif self.jammed and not jammed:
            self._clear("alarm/help_button")
        self.jammed = jammed


def fan_on(was_on: bool, celsius: float | None) -> bool:
    """Whether the fan should run. celsius: of the board; None if it cannot be read: then it runs."""
    if celsius is None:
        return True
    return celsius >= FAN_ON if not was_on else celsius > FAN_OFF
