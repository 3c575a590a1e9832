"""The stop's light, the infrared light and the fan: switched by what `stop_light` and `switches` decide."""

from __future__ import annotations

from agent.io.stop_light import LampFacts, LampWatch, lit
from agent.io.store import IoStore
from agent.io.switches import Switches, fan_on
from agent.messages import Alarm, Switch
from agent.runtime.config import Light
from drivers.clock import SystemClock
from drivers.gpio.port import Pins

_STALE_MS = 60_000


class Lights:
    """Used by io's main thread; the two times may be set by another.

    waiting_ms  when the camera last reported a waiting person; dark_ms: when it last reported darkness, None by day
    """

    def __init__(self, clock: SystemClock, settings: Light, store: IoStore, pins: Pins, switches: Switches) -> None:
        self._clock, self._settings, self._store, self._pins, self._switches = clock, settings, store, pins, switches
        self._lamp = LampWatch(fault="alarm/light" in store.stood)
        self.waiting_ms: int | None = None
        self.dark_ms: int | None = None
        self._forced: tuple[bool, int] | None = None

    def force(self, on: bool, until_ms: int) -> None:
        """Set the light by command, until `until_ms`."""
        self._forced = (on, until_ms)

    def tick(self, now_ms: int, *, call: bool) -> None:
        """Switch light and infrared light as decided. call: whether a call for help is open."""
        if "light" in self._pins.fitted:
            on = lit(self._settings, self._lamp_facts(now_ms, call))
            if on != (self._pins.shown("light") == "steady"):
                self._pins.show("light", "steady" if on else "off")
                self._store.say(Switch("light", "on" if on else "off"))
            self._judge_lamp(on, now_ms)
        dark = self.dark_ms is not None and now_ms - self.dark_ms < _STALE_MS
        self._pins.show("ir_light", "steady" if dark else "off")

    def _judge_lamp(self, on: bool, now_ms: int) -> None:
        if "light_current" not in self._pins.fitted:
            return
        change = self._lamp.see(on, self._pins.closed("light_current"), now_ms)
        if change == "fault":
            self._store.say(Switch("light", "fault"), Alarm("light", "no_current", ""))
        elif change == "mended":
            self._store.say(Switch("light", "mended"))
            self._store.clear("alarm/light")

    def _lamp_facts(self, now_ms: int, call: bool) -> LampFacts:
        seen = [when for when in (self._switches.moved_ms, self.waiting_ms) if when is not None]
        if self._switches.moving and self._pins.closed("motion"):
            seen.append(now_ms)
        if self._forced and now_ms >= self._forced[1]:
            self._forced = None
        clock = self._clock
        return LampFacts(
            now=clock.now(),
            trusted=clock.trusted(),
            now_ms=now_ms,
            dark=self._pins.closed("light_sensor") if "light_sensor" in self._pins.fitted else None,
            seen_ms=max(seen, default=None),
            call=call,
            forced=self._forced[0] if self._forced else None,
        )

    def cool(self) -> None:
        """The fan, by the board's temperature."""
        if "fan" in self._pins.fitted:
            # Imported only if a fan is fitted, to keep io's memory small.
            from drivers import board

            try:
                celsius: float | None = board.temperature()
            except (OSError, ValueError):
                celsius = None
            self._pins.show("fan", "steady" if fan_on(self._pins.shown("fan") == "steady", celsius) else "off")
