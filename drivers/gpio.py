"""Pins through gpiozero: the help button and its lamp. The factory "mock" is gpiozero's own fake and ships with the product.

The button closes to ground (pull-up). A fake pin can be pressed through the control socket; a real one refuses that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

from gpiozero import LED, Button
from gpiozero.exc import BadPinFactory, GPIOZeroError
from gpiozero.pins.mock import MockFactory

from privacy.errors import ConfigError, LyktaError, UsageError

LampState = Literal["off", "blinking", "steady"]
_DEBOUNCE_S = 0.05
_BLINK_S = 0.4


class Pins(Protocol):
    """What the help point is made of.

    An implementer promises: `pressed` is called once a press, from a thread of its own; the lamp changes at once.
    """

    lamp: LampState

    def on_press(self, pressed: Callable[[], None]) -> None: ...

    def show(self, state: LampState) -> None: ...

    def press(self) -> None: ...

    def close(self) -> None: ...


class HelpPoint:
    """Button and lamp on gpiozero, with the machine's own factory or the mock."""

    def __init__(self, factory: Literal["gpio", "mock"], button: int, lamp: int) -> None:
        if button == lamp:
            raise ConfigError(f"pins: help_button and help_lamp: must differ (got {button} twice)", "see the wiring plan")
        self._factory: Any = MockFactory() if factory == "mock" else None
        self.lamp: LampState = "off"
        try:
            # The mock's pins have no time of their own: a debounce there would swallow the press.
            bounce = None if self._factory else _DEBOUNCE_S
            self._button = Button(button, pull_up=True, bounce_time=bounce, pin_factory=self._factory)
            self._lamp = LED(lamp, pin_factory=self._factory)
        except (BadPinFactory, GPIOZeroError, OSError) as problem:
            raise LyktaError(f"pins: cannot be opened: {problem}", 'off a Pi: pins.factory = "mock"') from problem

    def on_press(self, pressed: Callable[[], None]) -> None:
        self._button.when_pressed = pressed

    def show(self, state: LampState) -> None:
        if state == "blinking":
            self._lamp.blink(_BLINK_S, _BLINK_S)
        elif state == "steady":
            self._lamp.on()
        else:
            self._lamp.off()
        self.lamp = state

    def press(self) -> None:
        """Press and let go of a fake button; hardware refuses to be pressed by software."""
        if self._factory is None:
            raise UsageError("pins: a real button is pressed by a person", 'only pins.factory = "mock" can be pressed from here')
        pin = self._button.pin
        pin.drive_low()
        time.sleep(0.01)
        pin.drive_high()

    def close(self) -> None:
        self._lamp.off()
        self._button.close()
        self._lamp.close()
