"""One suite over both adapters of the port `Pins`: the fake that ships, and the kernel's lines.

The second needs lines: `make test-vm` brings them by gpio-sim, whose levels are pulled and read in sysfs. It names them in
LYKTA_GPIOCHIP (the chip's device) and LYKTA_GPIOSIM (the bank's folder, with sim_gpio<N>/pull and value).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from drivers.gpio.port import OUTPUTS, Input, LampState, Pins
from drivers.gpio.wired_pins import WiredPins
from privacy.errors import ConfigError, LyktaError, UsageError

LINES = {"help_button": 17, "help_lamp": 27, "door": 22, "light": 23}
CHIP, SIM = os.environ.get("LYKTA_GPIOCHIP", ""), os.environ.get("LYKTA_GPIOSIM", "")
Hand = Callable[[Input, bool], None]
Level = Callable[[str], bool]
Factory = Literal["gpio", "mock"]


class Bench:
    """Pins, a hand that works the contacts from outside, and an eye on the lamps' lines."""

    def __init__(self, factory: Factory) -> None:
        self.factory, self.threads = factory, len(threading.enumerate())
        self.open()

    def open(self) -> None:
        self.pins, self._over = WiredPins(self.factory, CHIP or "/dev/gpiochip0", LINES), threading.Event()
        self._thread = threading.Thread(target=self.pins.run, args=(lambda: not self._over.is_set(),))
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.pins.close()

    def work(self, part: Input, closed: bool) -> None:
        if self.factory == "mock":
            self.pins.work(part, closed)
        else:
            Path(SIM, f"sim_gpio{LINES[part]}", "pull").write_text("pull-down" if closed else "pull-up")

    def lit(self, part: str) -> bool:
        if self.factory == "mock":
            return bool(self.pins._lamps[part].is_lit)
        return Path(SIM, f"sim_gpio{LINES[part]}", "value").read_text().strip() == "1"


@pytest.fixture(params=["mock", "gpio"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "gpio":
        if not CHIP:
            pytest.skip("no lines on this machine: `make test-vm` runs it on gpio-sim")
        # As the wiring does it: contacts are pulled up, and a lamp whose line nobody holds is dark.
        for part, line in LINES.items():
            Path(SIM, f"sim_gpio{line}", "pull").write_text("pull-down" if part in OUTPUTS else "pull-up")
    bench = Bench(request.param)
    yield bench
    bench.close()


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not met():
        assert time.monotonic() < end
        time.sleep(0.01)


def changes(pins: Pins) -> list[tuple[str, bool]]:
    seen: list[tuple[str, bool]] = []
    pins.on_change(lambda part, closed: seen.append((part, closed)))
    return seen


def test_a_contact_that_closes_and_opens_is_told_once_each(bench: Bench) -> None:
    seen = changes(bench.pins)
    for closed in (True, False, True, False):
        bench.work("help_button", closed)
        until(lambda closed=closed: bool(seen) and seen[-1] == ("help_button", closed))  # type: ignore[misc]
        assert bench.pins.closed("help_button") is closed
    assert seen == [("help_button", True), ("help_button", False)] * 2


def test_contacts_do_not_disturb_each_other(bench: Bench) -> None:
    seen = changes(bench.pins)
    bench.work("door", True)
    until(lambda: seen == [("door", True)])
    bench.work("help_button", True)
    until(lambda: seen == [("door", True), ("help_button", True)])
    assert bench.pins.closed("door")


@pytest.mark.parametrize("before", ["off", "blinking", "steady"])
def test_a_lamp_shows_what_was_last_said(bench: Bench, before: LampState) -> None:
    bench.pins.show("help_lamp", before)
    bench.pins.show("help_lamp", "blinking")
    until(lambda: bench.lit("help_lamp"))
    until(lambda: not bench.lit("help_lamp"))
    bench.pins.show("help_lamp", "steady")
    until(lambda: bench.lit("help_lamp"))
    time.sleep(1.0)
    assert bench.lit("help_lamp")
    bench.pins.show("help_lamp", "off")
    until(lambda: not bench.lit("help_lamp"))
    assert bench.pins.shown("help_lamp") == "off"


def test_what_is_not_fitted_is_open_and_shows_nothing(bench: Bench) -> None:
    assert bench.pins.fitted == set(LINES)
    bench.pins.show("fan", "steady")
    assert bench.pins.shown("fan") == "off"
    assert not bench.pins.closed("motion")


def test_a_line_has_one_user(bench: Bench) -> None:
    """A second user of the same line is refused by name; after the first is gone it may have it."""
    if bench.factory == "mock":
        with pytest.raises(ConfigError, match=r"door and light: must differ \(got 22 twice\)"):
            WiredPins("mock", "", LINES | {"light": 22})
        return
    with pytest.raises(LyktaError, match=r"line 17 of .*: held by lykta-io"):
        _second_process_opens()


def _second_process_opens() -> None:
    import gpiod

    from drivers.gpio.gpiod_pins import GpiodFactory, GpiodPin

    factory = GpiodFactory(CHIP)
    try:
        GpiodPin(factory, factory.board_info.headers["J8"].pins[11])
    finally:
        gpiod.Chip.close(factory.chip)


def test_closing_puts_the_lamps_out_and_no_thread_is_made(bench: Bench) -> None:
    """14.A4: gpiozero's own threads would end without anybody's notice."""
    changes(bench.pins)
    bench.pins.show("help_lamp", "blinking")
    assert len(threading.enumerate()) == bench.threads + 1
    bench.pins.show("light", "steady")
    bench.close()
    if bench.factory == "gpio":
        assert Path(SIM, f"sim_gpio{LINES['light']}", "value").read_text().strip() == "0"
    assert len(threading.enumerate()) == bench.threads
    bench.open()


def test_hardware_refuses_to_be_worked_by_software(bench: Bench) -> None:
    if bench.factory == "mock":
        with pytest.raises(UsageError, match="motion: is not fitted"):
            bench.pins.work("motion", True)
    else:
        with pytest.raises(UsageError, match="cannot operate a real contact"):
            bench.pins.work("door", True)


def test_a_board_without_the_chip_is_named() -> None:
    """The wrong board: which chip is missing, which there are."""
    with pytest.raises(LyktaError, match="chip: /dev/gpiochip77 cannot be opened") as problem:
        WiredPins("gpio", "/dev/gpiochip77", LINES)
    assert "chips here:" in problem.value.hint
