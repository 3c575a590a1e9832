"""Notices from the camera to io: whether somebody is at the stop, and whether it is dark. Never how many, never where."""

from __future__ import annotations

from agent.messages import Presence
from agent.runtime.notices import Sender
from agent.runtime.service import Runtime

LIGHT_AGAIN_MS = 20_000
"""Repeated at this interval, before io takes silence for daylight."""


class Neighbour:
    """Called from the capture thread and the service's main thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._sender, self._clock = Sender(runtime.layout.presence), runtime.clock
        self._night: bool | None = None
        self._light_told_ms = 0

    @property
    def dropped(self) -> int:
        """Notices that were not delivered."""
        return self._sender.dropped

    def tell_presence(self, change: Presence) -> None:
        self._sender.send("empty" if change.people == "none" else "waiting", "", self._clock.mono_ms())

    def tell_light(self, night: bool | None) -> None:
        """io switches the infrared lamp by it. night: None where the camera cannot know."""
        now_ms = self._clock.mono_ms()
        if night is not None and (night != self._night or now_ms - self._light_told_ms >= LIGHT_AGAIN_MS):
            self._night, self._light_told_ms = night, now_ms
            self._sender.send("dark" if night else "bright", "", now_ms)
