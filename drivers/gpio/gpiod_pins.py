"""A pin factory for gpiozero on the kernel's GPIO character device, through libgpiod 2.

gpiozero has no such factory, and its default one needs lgpio, which Debian 13 does not have. The kernel does bias, debounce and
edge detection. Lines are numbered as on the chip, which on a Pi's 40-pin header is the BCM number.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import gpiod
from gpiod.line import Bias, Direction, Edge, Value
from gpiozero.exc import PinFixedPull, PinInvalidBounce, PinInvalidFunction, PinInvalidPull, PinSetInput, PinUnknownPi
from gpiozero.pins.local import LocalPiFactory, LocalPiPin

from privacy.errors import LyktaError

_CONSUMER = "lykta-io"
# Revision code of a Pi 4. Every Pi with 40 pins numbers its lines alike, so it also serves for chips on other boards.
_ANY_PI = 0xC03114
_BIAS = {"up": Bias.PULL_UP, "down": Bias.PULL_DOWN, "floating": Bias.DISABLED}
_EDGES = {"none": Edge.NONE, "rising": Edge.RISING, "falling": Edge.FALLING, "both": Edge.BOTH}


class GpiodFactory(LocalPiFactory):  # type: ignore[misc]
    """The lines of one GPIO chip, e.g. /dev/gpiochip0; `LyktaError` if it cannot be opened."""

    def __init__(self, chip: str) -> None:
        super().__init__()
        self.path, self.pin_class = chip, GpiodPin
        try:
            self.chip = gpiod.Chip(chip)
        except (OSError, ValueError) as problem:
            known = ", ".join(sorted(str(path) for path in Path("/dev").glob("gpiochip*"))) or "none"
            raise LyktaError(
                f"pins: chip: {chip} cannot be opened: {problem}",
                f'chips here: {known}; is the right board fitted? on anything but a Pi: pins.factory = "mock"',
            ) from problem

    def close(self) -> None:
        super().close()
        self.chip.close()

    def _get_revision(self) -> int:
        try:
            return int(super()._get_revision())
        except (PinUnknownPi, OSError):
            return _ANY_PI


class GpiodPin(LocalPiPin):  # type: ignore[misc]
    """One line, requested from the kernel when it is created and released when it is closed."""

    def __init__(self, factory: GpiodFactory, info: Any) -> None:
        super().__init__(factory, info)
        self._output, self._pull, self._edges = False, info.pull or "floating", "both"
        self._bounce: float | None = None
        self._watching: _Watch | None = None
        with _explained(factory, self._number):
            self._request = factory.chip.request_lines({self._number: self._settings()}, _CONSUMER)

    def close(self) -> None:
        self.when_changed = None
        self._request.release()

    def _settings(self, value: bool = False) -> gpiod.LineSettings:
        if self._output:
            return gpiod.LineSettings(direction=Direction.OUTPUT, output_value=_value(value))
        return gpiod.LineSettings(
            direction=Direction.INPUT,
            bias=_BIAS[self._pull],
            edge_detection=_EDGES[self._edges] if self._watching else Edge.NONE,
            debounce_period=timedelta(seconds=self._bounce or 0),
        )

    def _configure(self, value: bool = False) -> None:
        with _explained(self._factory, self._number):
            self._request.reconfigure_lines({self._number: self._settings(value)})

    def output_with_state(self, state: bool) -> None:
        """Make the line an output that has the right level from the start."""
        self._output, self._pull = True, "floating"
        self._configure(bool(state))

    def _get_function(self) -> str:
        return "output" if self._output else "input"

    def _set_function(self, value: str) -> None:
        if value not in ("input", "output"):
            raise PinInvalidFunction(f"invalid function {value!r} for pin {self!r}")
        self._output = value == "output"
        self._configure()

    def _get_state(self) -> bool:
        return bool(self._request.get_value(self._number) is Value.ACTIVE)

    def _set_state(self, value: float) -> None:
        if not self._output:
            raise PinSetInput(f"cannot set state of pin {self!r}")
        self._request.set_value(self._number, _value(bool(value)))

    def _get_pull(self) -> str:
        return str(self._pull)

    def _set_pull(self, value: str) -> None:
        if self._output:
            raise PinFixedPull(f"cannot set pull on non-input pin {self!r}")
        if self.info.pull not in (value, ""):
            raise PinFixedPull(f"{self!r} has a physical pull-{self.info.pull} resistor")
        if value not in _BIAS:
            raise PinInvalidPull(f"invalid pull {value!r} for pin {self!r}")
        self._pull = value
        self._configure()

    def _get_bounce(self) -> float | None:
        return self._bounce

    def _set_bounce(self, value: float | None) -> None:
        if value is not None and value < 0:
            raise PinInvalidBounce("bounce must be 0 or greater")
        self._bounce = value
        self._configure()

    def _get_edges(self) -> str:
        return self._edges

    def _set_edges(self, value: str) -> None:
        self._edges = value
        self._configure()

    def _enable_event_detect(self) -> None:
        self._watching = _Watch(self)
        self._configure()
        self._watching.thread.start()

    def _disable_event_detect(self) -> None:
        if self._watching:
            self._watching.end()
            self._watching = None
            self._configure()


class _Watch:
    """A thread that waits for edges of a line and passes them to gpiozero."""

    def __init__(self, pin: GpiodPin) -> None:
        self._pin, self._stop = pin, os.eventfd(0)
        self.thread = Thread(target=self._run, name=f"pin-{pin._number}", daemon=True)

    def end(self) -> None:
        os.eventfd_write(self._stop, 1)
        self.thread.join(2)
        if self.thread.is_alive():
            raise LyktaError(f"pins: {self.thread.name}: does not end", "the service starts again")
        os.close(self._stop)

    def _run(self) -> None:
        request = self._pin._request
        while self._stop not in select.select([request.fd, self._stop], [], [])[0]:
            for event in request.read_edge_events():
                self._pin._call_when_changed(event.timestamp_ns / 1e9, event.event_type is event.Type.RISING_EDGE)


@contextmanager
def _explained(factory: GpiodFactory, line: int) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise LyktaError(f"pins: line {line} of {factory.path}: {problem.strerror}{_holder(factory, line)}", _HINT) from problem


_HINT = "a line can have only one user: see the wiring plan, `gpioinfo` and dtoverlay= in config.txt"


def _holder(factory: GpiodFactory, line: int) -> str:
    if line >= factory.chip.get_info().num_lines:
        return f": the chip has {factory.chip.get_info().num_lines} lines"
    consumer = factory.chip.get_line_info(line).consumer
    return f": held by {consumer}" if consumer else ""


def pulse(chip: str, line: int, seconds: float) -> None:
    """Set a line high for some seconds, then low. For a relay whose contact is closed at rest: it cuts the power meanwhile.

    `LyktaError` if the chip or the line cannot be used.
    """
    factory = GpiodFactory(chip)
    try:
        with _explained(factory, line):
            settings = gpiod.LineSettings(direction=Direction.OUTPUT, output_value=Value.ACTIVE)
            with factory.chip.request_lines({line: settings}, "lykta-link") as request:
                time.sleep(seconds)
                request.set_value(line, Value.INACTIVE)
    finally:
        factory.chip.close()


def _value(high: bool) -> Value:
    return Value.ACTIVE if high else Value.INACTIVE
