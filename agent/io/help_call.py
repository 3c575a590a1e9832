"""A call for help: the state of its lamp, and when it is over. Pure: the time is an argument.

Pressed: blinking. Taken by an operator: steady, for five minutes. Not taken in a minute, because nobody answers or the
link is down: off; the sign tells people to ring 112.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from drivers.gpio.port import LampState

UNANSWERED_MS = 60_000
STEADY_MS = 300_000
Lapse = Literal["", "unanswered", "over"]


class Call(Struct, frozen=True):
    """An open call. press: its id in event, alarm, clip and acknowledgement; since_ms: monotonic."""

    press: str
    since_ms: int
    taken: bool = False

    @property
    def lamp(self) -> LampState:
        return "steady" if self.taken else "blinking"


def again(call: Call | None) -> bool:
    """Whether a press is part of the open call; after it is taken, a press is a new call."""
    return call is not None and not call.taken


def lapse(call: Call, now_ms: int) -> Lapse:
    age = now_ms - call.since_ms
    if call.taken:
        return "over" if age > STEADY_MS else ""
    return "unanswered" if age > UNANSWERED_MS else ""
