"""Weeks without a link, in fast motion: what the outbox keeps, how large its file is, what a start and a drain cost.

`python -m tests.bench.weeks [DAYS]`. Each minute a health batch, in a day 600 changes of presence, 100 clips with their two
notes, 20 changes of state, and two presses of the help button. The file lies in memory: sizes count here, not the disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from agent.messages import Alarm, Body, ClipNote, Health, Help, Presence, State
from agent.outbox.outbox import Mark, Outbox
from agent.runtime.status import CameraStatus, IoStatus, UplinkStatus
from agent.uplink import health
from drivers import board
from tests.support.outboxes import DAY, FakeClock, outbox_at

DAYS = 70
MINUTES = 24 * 60
STATUSES = (
    CameraStatus(
        frames=1_234_567, masked=123_456, looks=234_567, look_ms=87.5, clips=123,
        full_by_cause={"start": 12, "late": 3, "moved": 0, "dark": 1234, "exposure": 7, "error": 0},
    ),
    IoStatus(),
    UplinkStatus(),
)  # fmt: skip
EDGES = health.PowerEdges()
CLIP = "0198c0de-0000-7000-8000-000000000001"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def batch(outbox: Outbox, folder: Path) -> list[Health]:
    """All groups, with the values of this machine and of a camera that runs."""
    numbers = health.numbers_of(STATUSES)
    return [
        *health.of_machine(folder, health.Writes(lambda: board.written_mb(folder)), EDGES),
        *health.of_camera(numbers),
        health.group("link", {}, numbers["link"]),
        health.group("clock", {"trusted": lambda: 1}),
        health.of_outbox(outbox, numbers=numbers["buffer"]),
        health.group("agent", {"uplink_mb": lambda: 43.2}),
    ]


def happens(minute: int) -> list[Body]:
    """What a day's minute brings beside health, spread evenly."""
    bodies: list[Body] = []
    due = [minute * times // MINUTES != (minute + 1) * times // MINUTES for times in (600, 100, 20, 2)]
    if due[0]:
        bodies.append(Presence("few" if minute % 2 else "none", DAY))
    if due[1]:
        bodies += [ClipNote(CLIP, "recorded", "event", "", 2_345_678), ClipNote(CLIP, "expired", "event", "retention", 2_345_678)]
    if due[2]:
        bodies.append(State("ready", "filming", DAY, None, "nobody", {"camera": "ready", "io": "ready", "uplink": "degraded"}))
    if due[3]:
        bodies += [Help(CLIP, "pressed"), Alarm("help", "pressed", CLIP)]
    return bodies


def offline(outbox: Outbox, clock: FakeClock, days: int, folder: Path) -> None:
    say("| day | rows | thinned | dropped | file MB |\n|---|---|---|---|---|")
    sample = batch(outbox, folder)
    for day in range(1, days + 1):
        for minute in range(MINUTES):
            outbox.put(*sample)
            clock.time += timedelta(minutes=1)
            if bodies := happens(minute):
                outbox.put(*bodies)
        if day in (1, 2, 7) or day % 14 == 0 or day == days:
            drops = outbox.drops()
            say(f"| {day} | {outbox.pending()} | {drops['thinned']} | {drops['bound']} | {outbox.size() / 1e6:.1f} |")


def drain(outbox: Outbox) -> int:
    """Take and let go of everything as the publisher does; the messages."""
    count, mark = 0, Mark()
    outbox.tell_gone()
    while taken := outbox.take(mark, 100):
        for one in taken:
            mark = mark.past(one)
        outbox.delete(taken)
        count += len(taken)
    return count


def main(days: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        path, clock = Path(name) / "state.db", FakeClock()
        outbox = outbox_at(path, clock=clock)
        began = time.process_time()
        offline(outbox, clock, days, Path(name))
        say(f"a put: {(time.process_time() - began) / (days * MINUTES) * 1000:.2f} ms of CPU a minute of the node")
        for one in outbox.classes():
            say(f"{one.name}: {one.rows} rows, {one.bytes / 1e6:.2f} MB, {one.bytes / max(1, one.rows):.0f} bytes each")
        outbox.close()
        began = time.process_time()
        outbox = outbox_at(path, clock=clock)
        say(f"a start on it: {time.process_time() - began:.2f} s of CPU")
        began = time.process_time()
        count = drain(outbox)
        say(f"drained: {count} messages, {time.process_time() - began:.1f} s of CPU; file {outbox.size() / 1e6:.1f} MB")
        say("the next two weeks lie in the room that became free:")
        offline(outbox, clock, 14, Path(name))
        outbox.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else DAYS)
