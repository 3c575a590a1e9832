"""Weeks without a link, in fast motion: what the outbox keeps, how large its file is, what a start and a drain cost.

`python -m tests.bench.weeks [DAYS]`. Every five minutes a health batch, in a day 600 changes of presence, 100 clips with their two
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
from agent.outbox.remote import Found
from agent.runtime.status import CameraStatus, IoStatus, Status, UplinkStatus
from agent.uplink.health import readings
from agent.uplink.health.cadence import EVERY_S
from agent.uplink.health.groups import collect
from agent.uplink.health.trends import Boots, ClockSteps
from drivers.clock import SystemClock
from tests.support.outboxes import DAY, FakeClock, outbox_at

DAYS = 70
MINUTES = 24 * 60
HEALTH_MINUTES = round(EVERY_S / 60)
STATUSES: dict[str, Status] = {
    "camera": CameraStatus(
        fps=15, distinct_share=1.0, frame_age_s=0, exposure_us=20_000, gain=1.5, focus=312.5, mask_coverage=0.25, full_share=0.0,
        look_ms=87.5, clips=123, view="as_known", full_share_by_cause={"start": 0.25}, restarts=0, memory_mb=330.5, threads=13,
        descriptors=40,
    ),
    "io": IoStatus(restarts=0, memory_mb=38.2, threads=8, descriptors=20),
    "uplink": UplinkStatus(
        connected=True, interface="wwan0", round_trip_ms=43.5, connected_share=0.999, sent_mb={"mqtt": 1.25, "clip": 250.75},
        restarts=0, memory_mb=52.5, threads=14, descriptors=30,
    ),
}  # fmt: skip
CLIP = "0198c0de-0000-7000-8000-000000000001"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def batch(outbox: Outbox, folder: Path) -> list[Health]:
    """All groups, with the values of this machine and of a camera that runs."""
    clock = SystemClock("host")
    groups = collect(
        STATUSES,
        (
            (readings.Machine, readings.of_machine(folder, readings.Trends.of(folder, Boots(None, "")))),
            (readings.ClockReadings, readings.of_clock(clock, ClockSteps())),
            (readings.Outboxes, readings.of_outboxes(outbox, lambda: Found(0, 0, 0))),
        ),
    )
    return [group.message(name) for name, group in groups.items()]


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
            if minute % HEALTH_MINUTES == 0:
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
