"""A pin factory for gpiozero on the kernel's GPIO character device, through libgpiod 2.

gpiozero has no such factory, and its default one needs lgpio, which Debian 13 does not have. The kernel does bias, debounce and
edge detection. Lines are numbered as on the chip, which on a Pi's 40-pin header is the BCM number. There is no thread here: whoever
has the factory calls `wait` again and again, and the edges are passed on in it.

A line whose edges cannot be read is requested anew, and gpiozero is told its level, so that a change whose edge was lost is told
too. Reads that fail one after another end this: `LyktaError`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Lock
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
_MOST_FAILURES = 3
"""Reads of one line that may fail one after another."""
_EDGES = {"none": Edge.NONE, "rising": Edge.RISING, "falling": Edge.FALLING, "both": Edge.BOTH}


class GpiodFactory(LocalPiFactory):  # type: ignore[misc]
    """The lines of one GPIO chip, e.g. /dev/gpiochip0; `LyktaError` if it cannot be opened."""

    def __init__(self, chip: str) -> None:
        super().__init__()
        self.path, self.pin_class = chip, GpiodPin
        self.failures = 0
        """Reads that failed, of all lines."""
        self._watched: list[GpiodPin] = []
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

    def watch(self, pin: GpiodPin, watched: bool) -> None:
        """Whether `wait` waits for edges of this line. Not while another thread is in it."""
        self._watched = [one for one in self._watched if one is not pin] + [pin] * watched

    def wait(self, most_s: float) -> None:
        """Wait for edges, so many seconds at most, and pass them to gpiozero."""
        pins = {pin.descriptor: pin for pin in self._watched}
        for descriptor in select.select(list(pins), [], [], most_s)[0]:
            self.failures += pins[descriptor].read_edges()

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
        self._watching, self._failures = False, 0
        # Against values read or set while the line is requested anew.
        self._lock = Lock()
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
        with self._lock, _explained(self._factory, self._number):
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
        with self._lock, self._failing("read"):
            return bool(self._request.get_value(self._number) is Value.ACTIVE)

    def _set_state(self, value: float) -> None:
        if not self._output:
            raise PinSetInput(f"cannot set state of pin {self!r}")
        with self._lock, self._failing("set"):
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
        self._watching = True
        self._configure()
        self._factory.watch(self, True)

    def _disable_event_detect(self) -> None:
        self._factory.watch(self, False)
        self._watching = False
        self._configure()

    @property
    def descriptor(self) -> int:
        return int(self._request.fd)

    def read_edges(self) -> bool:
        """Pass the edges that wait to gpiozero; whether they could not be read and the line was requested anew.

        `LyktaError` if that has not helped, or is refused.
        """
        try:
            events = self._request.read_edge_events()
        except OSError as problem:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise self._failed("read", problem) from problem
            self._request_anew()
            return True
        self._failures = 0
        for event in events:
            self._call_when_changed(event.timestamp_ns / 1e9, event.event_type is event.Type.RISING_EDGE)
        return False

    def _request_anew(self) -> None:
        with self._lock, _explained(self._factory, self._number):
            self._request.release()
            self._request = self._factory.chip.request_lines({self._number: self._settings()}, _CONSUMER)
        self._call_when_changed()

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise self._failed(what, problem) from problem

    def _failed(self, what: str, problem: OSError) -> LyktaError:
        where = f"pins: line {self._number} of {self._factory.path}"
        return LyktaError(
            f"{where}: cannot be {what}: {problem.strerror}", "the service starts again; if it goes on, see the wiring plan"
        )


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
