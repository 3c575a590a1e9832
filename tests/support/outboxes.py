"""Outboxes for tests: a clock that stands still, one message of each kind, and what an outbox holds."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from agent.messages import Alarm, Body, ClipNote, Health, Help, Presence, State, Tombstone, decode
from agent.outbox.outbox import MOST_BYTES, MOST_ROWS, Mark, Outbox, Waiting
from drivers.clock import SystemClock
from tests.support.broker import NODE, SITE

DAY = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HELP = Help("press-1", "pressed")
HEALTH = Health("system", {"cpu": 0.5}, {})
PRESENCE = Presence("few", DAY)
KINDS: dict[str, Body] = {
    "help": HELP,
    "health": HEALTH,
    "presence": PRESENCE,
    "alarm": Alarm("help", "pressed", "press-1"),
    "clip": ClipNote("01a", "recorded", "help", "", 100),
    "state": State("ready", "connected", DAY, None, "nobody", {}),
}
WRITER = """
import sys
from pathlib import Path
from agent.messages import Help
from agent.outbox.outbox import Outbox
from drivers.clock import SystemClock
outbox = Outbox(Path(sys.argv[1]), "city", "stop-1", SystemClock("host"))
for number in range(int(sys.argv[3])):
    outbox.put(Help(f"{sys.argv[2]}-{number}", "pressed"))
    print(number, flush=True)
"""


class FakeClock(SystemClock):
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        super().__init__("host")
        self.time = DAY

    def now(self) -> datetime:
        return self.time

    def mono_ms(self) -> int:
        return 5_000


def outbox_at(path: Path, most: int = MOST_ROWS, most_bytes: int = MOST_BYTES, clock: FakeClock | None = None) -> Outbox:
    return Outbox(path, SITE, NODE, clock or FakeClock(), most, most_bytes)


def waiting(outbox: Outbox) -> list[Waiting]:
    return outbox.take(Mark(), 1_000_000)


def presses(outbox: Outbox) -> list[str]:
    bodies = [decode(one.payload).body for one in waiting(outbox) if one.payload]
    return [body.press for body in bodies if isinstance(body, Help)]


def seqs(outbox: Outbox) -> list[int]:
    return sorted(one.seq for one in waiting(outbox))


def tombstones(outbox: Outbox) -> list[Tombstone]:
    """What is told of numbers that will not come, asked for now."""
    outbox.tell_gone()
    bodies = [decode(one.payload).body for one in waiting(outbox) if one.tail == "event/tombstone"]
    return [body for body in bodies if isinstance(body, Tombstone)]


def tear(path: Path) -> None:
    """A whole header over broken pages, as a dying card leaves it."""
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)


def writers(path: Path, count: int, *names: str) -> list[subprocess.Popen[str]]:
    """Processes that each put `count` presses."""
    return [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name, str(count)], stdout=subprocess.PIPE, text=True)
        for name in names
    ]
