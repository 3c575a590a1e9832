"""`lykta io` on the mock pins, whose thread hangs before its first sign of life: usage python -m tests.support.hanging_pins ROOT"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import msgspec

from agent.io.service import Io
from agent.io.store import IoStore
from agent.runtime.service import Runtime, run_service
from drivers.gpio.wired_pins import WiredPins
from provisioning.layout import Layout


class HangingPins(WiredPins):
    """As over a chip whose driver never returns."""

    def run(self, going_on: Callable[[], bool]) -> None:
        while True:
            time.sleep(1.0)


def run(runtime: Runtime) -> None:
    settings = msgspec.structs.asdict(runtime.config.pins)
    pins = HangingPins(settings.pop("factory"), settings.pop("chip"), settings)
    Io(runtime, IoStore(runtime), pins).run()


if __name__ == "__main__":
    sys.exit(run_service("io", Layout.from_environment(sys.argv[1]), run))
