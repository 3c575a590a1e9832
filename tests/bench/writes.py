"""What a quiet day writes to the card, the file system's journal included. Root, Linux: `python -m tests.bench.writes [HOURS]`.

A day of a quiet node in fast motion, on ext4 in a file mounted in a name space of its own: every five minutes a health batch, put
and acknowledged as the uplink does; each hour its statistics, and an entry of heads in three journals; 200 changes of presence, 10
clips with their notes and journal entries. Clips' own bytes are counted apart.

The kernel writes what is dirty every five seconds (ext4's commit=5) and every thirty; fast motion knows no seconds, so that the
file system is synced after whatever lies further apart than that. Counted by the kernel's own statistics of the device.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import get_args

from agent.messages import Body, ChainHead, ClipNote, Heads, Presence
from agent.outbox.outbox import Mark, Outbox
from agent.statistics import HourStats
from agent.uplink.health.hour import Topic
from drivers import board
from privacy.files import place
from privacy.records.journal import HEADS, Journal
from privacy.records.jws import Signer, load_chain, load_private_key
from tests.bench.weeks import CLIP, HEALTH_MINUTES, batch, say
from tests.support.broker import Centre
from tests.support.outboxes import DAY, FakeClock, outbox_at

AIM_MB = 150.0
HOUR = HourStats(
    DAY, {"none": "most", "few": "little", "some": "none", "crowd": "none"}, "none", "none",
    {"filming": "all", "resting": "none", "blind": "none"}, dict.fromkeys(get_args(Topic), "none"),
)  # fmt: skip
IMAGE = 512 << 20
UNITS = ("uplink", "camera", "io")
PRESENCES, CLIPS = 200, 10
CLIP_S, CLIP_BYTES_S = 20, 125_000


@contextmanager
def card() -> Iterator[Path]:
    """An ext4 as a card's, mounted where nobody else sees it."""
    with tempfile.TemporaryDirectory() as name:
        image, where = Path(name) / "card.img", Path(name) / "card"
        where.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE)
        # Tables made now, not by the kernel while we count.
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
        subprocess.run(["mount", "-o", "loop,noatime", image, where], check=True)
        try:
            yield where
        finally:
            subprocess.run(["umount", where], check=True)


class Quiet:
    """A node's writers on a card."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock, self.mark = root, FakeClock(), Mark()
        self.outbox: Outbox = outbox_at(root / "outbox/state.db", clock=self.clock)
        with tempfile.TemporaryDirectory() as name:
            centre = Centre(Path(name) / "centre")
            files = [centre.issue("city/stop-1", unit) for unit in UNITS]
            signers = [Signer(load_private_key(at.with_suffix(".key").read_bytes()), load_chain(at.read_bytes())) for at in files]
        self.journals = {
            unit: Journal(root / "journal" / unit, unit, signer, self.clock.now)
            for unit, signer in zip(UNITS, signers, strict=True)
        }
        self.health = batch(self.outbox, root)

    def say(self, *bodies: Body) -> None:
        """Put, taken, acknowledged and let go, all within the same second."""
        self.outbox.put(*bodies)
        taken = self.outbox.take(self.mark, 100)
        for one in taken:
            self.mark = self.mark.past(one)
        self.outbox.delete(taken)

    def hour(self) -> None:
        for unit, journal in self.journals.items():
            journal.append(HEADS, **{other: str(self.journals[other].head) for other in UNITS if other != unit})
        self.say(Heads({unit: ChainHead(at.head.length, at.head.sha256) for unit, at in self.journals.items()}))

    def film(self) -> None:
        """The file operations of a clip: a second of video at a time made durable, a checkpoint each ten seconds."""
        folder = self.root / "spool" / f"{self.clock.time:%d%H%M%S}"
        folder.mkdir(parents=True)
        with (folder / "clip.age").open("wb", buffering=0) as video, (folder / "masks.age").open("wb", buffering=0) as masks:
            for second in range(CLIP_S):
                if second % 10 == 0:
                    place(folder / "checkpoint.jws", bytes(2000))
                for file, size in ((video, CLIP_BYTES_S), (masks, 1000)):
                    file.write(os.urandom(size))
                    os.fdatasync(file.fileno())
                if second % 5 == 4:
                    self.settle()
        place(folder / "manifest.jws", bytes(2500))
        (folder / "checkpoint.jws").unlink()

    def clip_noted(self) -> None:
        self.journals["camera"].append("clip_recorded", clip=CLIP, trigger="event", reason="", bytes=2_500_000)
        self.say(ClipNote(CLIP, "recorded", "event", "", 2_500_000))

    def settle(self) -> None:
        """The kernel's timers have passed."""
        subprocess.run(["sync", "-f", self.root], check=True)

    def spent(self, work: Callable[[], None]) -> float:
        """MB that the device was written for this."""
        before = board.written_mb(self.root)
        work()
        self.settle()
        return board.written_mb(self.root) - before


def day(hours: int) -> dict[str, float]:
    """MB a day by what causes them."""
    spent = dict.fromkeys(("health", "statistics", "presence", "heads", "clip notes", "clips"), 0.0)
    with card() as root:
        node = Quiet(root)
        for minute in range(hours * 60):
            due = {
                "health": minute % HEALTH_MINUTES == 0,
                "statistics": minute % 60 == 0,
                "heads": minute % 60 == 0,
                "presence": _due(minute, PRESENCES),
                "clips": _due(minute, CLIPS),
                "clip notes": _due(minute, CLIPS),
            }
            works: dict[str, Callable[[], None]] = {
                "health": lambda: node.say(*node.health),
                "statistics": lambda: node.say(HOUR),
                "heads": node.hour,
                "presence": lambda: node.say(Presence("few", DAY)),
                "clips": node.film,
                "clip notes": node.clip_noted,
            }
            for cause, work in works.items():
                if due[cause]:
                    spent[cause] += node.spent(work)
            node.clock.time += timedelta(minutes=1)
        node.outbox.close()
    return {cause: size * 24 / hours for cause, size in spent.items()}


def _due(minute: int, times: int) -> bool:
    """Whether something that happens so often in a day does in this minute."""
    return minute * times // 1440 != (minute + 1) * times // 1440


def main(hours: int) -> int:
    spent = day(hours)
    clips = spent.pop("clips")
    say("| cause | MB a day |\n|---|---|")
    for cause, size in spent.items():
        say(f"| {cause} | {size:.1f} |")
    total = sum(spent.values())
    own = CLIPS * CLIP_S * (CLIP_BYTES_S + 1000) / 1e6
    say(f"| sum | {total:.1f} |\n\n{CLIPS} clips of {own / CLIPS:.1f} MB: {clips:.1f} MB, {clips / own - 1:.0%} above their size")
    say(f"together {total + clips:.1f} MB; the aim is under {AIM_MB:.0f} MB")
    return int(total + clips >= AIM_MB)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("error: bench: writes needs root to mount a file system\nhint: sudo -E")
    if os.environ.get("LYKTA_BENCH_ALONE") is None:
        alone = ["unshare", "-m", sys.executable, "-m", "tests.bench.writes", *sys.argv[1:]]
        os.execvpe(alone[0], alone, {**os.environ, "LYKTA_BENCH_ALONE": "1"})
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 24))
