"""The kernel's GPIO lines, simulated below libgpiod (tests/support/lines/lines.c), and a hand that works them from outside."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path

from tests.support.nodes import PROJECT

_EVENT = struct.Struct("=QIIII24x")
"""struct gpio_v2_line_event: time, 1 for a rising and 2 for a falling edge, line, two sequence numbers."""


class KernelLines:
    """Lines in a folder; `environment` is that of a process on a machine with them."""

    def __init__(self, folder: Path, *lines: int) -> None:
        self._folder, self._count = folder, 0
        folder.mkdir()
        for line in lines:
            os.mkfifo(folder / f"{line}.events")
            (folder / f"{line}.level").write_text("1")
        # Held open, as a FIFO forgets what nobody has open.
        self._events = {line: os.open(folder / f"{line}.events", os.O_RDWR | os.O_NONBLOCK) for line in lines}
        program = folder / "lines.so"
        words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program)]
        subprocess.run([*words, str(PROJECT / "tests/support/lines/lines.c"), "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(program), "LYKTA_TEST_LINES": str(folder)}

    def close(self) -> None:
        for events in self._events.values():
            os.close(events)

    def work(self, line: int, closed: bool) -> None:
        """Close or open the contact of this line: closed is low."""
        self._put(f"{line}.level", str(int(not closed)))
        self._count += 1
        edge = _EVENT.pack(time.monotonic_ns(), 2 if closed else 1, line, self._count, self._count)
        os.write(self._events[line], edge)

    def fail(self, line: int, reads: int) -> None:
        """So many of the next reads of this line's edges fail with EIO."""
        self._put(f"{line}.fail", str(reads))

    def failures_left(self, line: int) -> int:
        return int((self._folder / f"{line}.fail").read_text())

    def _put(self, name: str, text: str) -> None:
        whole = self._folder / f"{name}.hand"
        whole.write_text(text)
        whole.rename(self._folder / name)
