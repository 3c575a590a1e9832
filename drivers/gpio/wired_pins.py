"""The inputs and outputs of a node through gpiozero, on the kernel's lines or on gpiozero's mock factory.

Every input is a contact to ground with a pull-up. Software can close and open the contacts of the mock, but not those of real
hardware. gpiozero's classes with threads of their own (Button, and LED's `blink`) are not used: nobody would learn of their end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import combinations
from threading import Event, Lock
from typing import Any, Literal

from gpiozero import LED, DigitalInputDevice
from gpiozero.exc import GPIOZeroError
from gpiozero.pins.mock import MockFactory

from drivers.gpio.port import INPUTS, OUTPUTS, Input, LampState, Output
from privacy.errors import ConfigError, LyktaError, UsageError

_DEBOUNCE_S = 0.05
_BLINK_S, _TURN_S = 0.4, 0.1


class WiredPins:
    """Contacts and lamps on gpiozero.

    factory  "gpio": the kernel's lines; "mock": gpiozero's mock
    chip     device of the GPIO chip, e.g. /dev/gpiochip0
    lines    line number of each part; a part that is missing or None is not fitted
    """

    def __init__(self, factory: Literal["gpio", "mock"], chip: str, lines: Mapping[str, int | None]) -> None:
        fitted = {part: line for part, line in lines.items() if line is not None}
        _refuse_shared(fitted)
        self.fitted = frozenset(fitted)
        self._shown: dict[Output, LampState] = dict.fromkeys(OUTPUTS, "off")
        self._blinks_since_s: dict[Output, float] = {}
        self._lock = Lock()
        self._fake = factory == "mock"
        self._factory: Any = MockFactory() if self._fake else _kernel_lines(chip)
        # The mock's changes have no duration: with a debounce time they would be dropped.
        bounce = None if self._fake else _DEBOUNCE_S
        try:
            self._contacts = {part: self._contact(fitted[part], bounce) for part in INPUTS if part in fitted}
            self._lamps = {part: LED(fitted[part], pin_factory=self._factory) for part in OUTPUTS if part in fitted}
        except (GPIOZeroError, OSError) as problem:
            raise LyktaError(f"pins: cannot be opened: {problem}", "see the wiring plan") from problem

    def _contact(self, line: int, bounce: float | None) -> Any:
        return DigitalInputDevice(line, pull_up=True, bounce_time=bounce, pin_factory=self._factory)

    def on_change(self, changed: Callable[[Input, bool], None]) -> None:
        for part, contact in self._contacts.items():
            contact.when_activated = lambda part=part: changed(part, True)
            contact.when_deactivated = lambda part=part: changed(part, False)

    @property
    def failures(self) -> int:
        return 0 if self._fake else int(self._factory.failures)

    def run(self, going_on: Callable[[], bool]) -> None:
        # An event that nobody sets: the mock's changes come from whoever works it.
        wait = Event().wait if self._fake else self._factory.wait
        while going_on():
            wait(_TURN_S)
            with self._lock:
                for part, since_s in self._blinks_since_s.items():
                    self._lamps[part].value = int((time.monotonic() - since_s) / _BLINK_S) % 2 == 0

    def closed(self, part: Input) -> bool:
        return part in self._contacts and bool(self._contacts[part].is_active)

    def show(self, part: Output, state: LampState) -> None:
        if part not in self._lamps or state == self._shown[part]:
            return
        with self._lock:
            self._shown[part] = state
            self._blinks_since_s.pop(part, None)
            if state == "blinking":
                self._blinks_since_s[part] = time.monotonic()
            self._lamps[part].value = state != "off"

    def shown(self, part: Output) -> LampState:
        return self._shown[part]

    def work(self, part: Input, closed: bool) -> None:
        """Close or open a contact of the mock; `UsageError` on real hardware."""
        if not self._fake:
            raise UsageError("pins: software cannot operate a real contact", 'this works with pins.factory = "mock" only')
        if part not in self._contacts:
            raise UsageError(f"pins: {part}: is not fitted", f"fitted: {', '.join(sorted(self._contacts))}")
        pin = self._contacts[part].pin
        if closed:
            pin.drive_low()
        else:
            pin.drive_high()

    def close(self) -> None:
        """Put the lamps out and release the lines, after `run` has ended."""
        for part in self._lamps:
            self.show(part, "off")
        for device in (*self._contacts.values(), *self._lamps.values()):
            device.close()
        self._factory.close()


def _kernel_lines(chip: str) -> Any:
    from drivers.gpio.gpiod_pins import GpiodFactory

    return GpiodFactory(chip)


def _refuse_shared(fitted: Mapping[str, int]) -> None:
    """`ConfigError` if two parts have the same line."""
    for (one, line), (other, same) in combinations(fitted.items(), 2):
        if line == same:
            raise ConfigError(f"pins: {one} and {other}: must differ (got {line} twice)", "see the wiring plan")
