"""`lykta io` with other wires, contacts that are closed at its start, and a clock that goes faster.

usage: python -m tests.support.wired_io ROOT TIMES PINS [CLOSED ...]

TIMES   how many times as fast its time since boot passes
PINS    what is fitted: part and pin, in JSON
"""

from __future__ import annotations

import json
import sys
from typing import Any

from agent.io.service import Io
from agent.io.store import IoStore
from agent.runtime.service import Runtime, run_service
from drivers.clock import SystemClock
from drivers.gpio.wired_pins import WiredPins
from provisioning.layout import Layout


class FastClock:
    """The node's clock, whose time since boot passes so many times as fast from now on."""

    def __init__(self, clock: SystemClock, times: int) -> None:
        self._clock, self._times, self._begin = clock, times, clock.mono_ms()

    def mono_ms(self) -> int:
        return self._begin + (self._clock.mono_ms() - self._begin) * self._times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)


def main(root: str, times: str, fitted: str, *closed: Any) -> int:
    def run(runtime: Runtime) -> None:
        pins = WiredPins("mock", "", json.loads(fitted))
        for part in closed:
            pins.work(part, True)
        runtime.clock = FastClock(runtime.clock, int(times))  # type: ignore[assignment]
        store = IoStore(runtime)
        Io(runtime, store, pins).run()
        store.close()

    return run_service("io", Layout.from_environment(root), run)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
