"""Record one run of the workload, then rebuild, mount and judge the disk as power cuts could have left it.

usage: python -m tests.powercut.replay [--states N] [--seed N] [--rounds N] [--first]   --first: the first violation is enough

A cut keeps everything that the disk had taken by then, or of what it took since its last flush a random half of the
4 KiB blocks, or nothing: a disk may write what it was not told to flush in any order, or never.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.powercut import disk
from tests.powercut.disk import Write
from tests.powercut.invariants import check
from tests.powercut.store import Home, enrol
from tests.powercut.told import Fact, Told, facts

BLOCK = 4096
KEEPS = {"all": 1.0, "half": 0.5, "none": 0.0}


@dataclass(frozen=True, order=True)
class Cut:
    """The power goes after so many entries of the log; keep: what of those since the last flush is on the disk."""

    at: int
    keep: str


def choose(log: Sequence[Write], states: int, seed: int) -> list[Cut]:
    """Cuts right after a mark, right before and after a flush, and the rest evenly over the log."""
    dice = random.Random(seed)
    marks = [Cut(at + 1, "none") for at, write in enumerate(log) if write.mark]
    flushes = [Cut(at, keep) for at, write in enumerate(log) if write.flush for keep in ("half", "none")]
    flushes += [Cut(at + 1, "all") for at, write in enumerate(log) if write.flush]
    chosen = {*_some(dice, marks, states // 3), *_some(dice, flushes, states // 3)}
    everywhere = [Cut(at, keep) for at in range(1, len(log) + 1) for keep in KEEPS]
    rest = sorted(set(everywhere) - chosen)
    wanted = min(states - len(chosen), len(rest))
    return sorted(chosen | {rest[round(number * (len(rest) - 1) / max(1, wanted - 1))] for number in range(wanted)})


def _some(dice: random.Random, cuts: list[Cut], most: int) -> list[Cut]:
    return cuts if len(cuts) <= most else dice.sample(cuts, most)


class Image:
    """The disk as of any entry of the log, going forward."""

    def __init__(self, work: Path, log: Sequence[Write], path: Path, seed: int) -> None:
        self._flushed, self._log, self._dice = bytearray((work / "base.raw").read_bytes()), log, random.Random(seed)
        self._source, self._done, self._next = (work / "log.raw").open("rb"), 0, 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.told: list[Fact] = []

    def write(self, cut: Cut) -> None:
        """Make the image file what the cut left."""
        while self._next < cut.at:
            self._take(self._next)
            self._next += 1
        os.pwrite(self._file, self._flushed, 0)
        for write in self._log[self._done : cut.at]:
            for at in range(0, 0 if write.mark else write.size, BLOCK):
                if self._dice.random() < KEEPS[cut.keep]:
                    os.pwrite(self._file, self._bytes(write)[at : at + BLOCK], write.start + at)

    def _take(self, number: int) -> None:
        write = self._log[number]
        if write.mark:
            self.told += facts(self._bytes(write))
        if write.flush:
            for before in self._log[self._done : number + 1]:
                if not before.mark:
                    self._flushed[before.start : before.start + before.size] = self._bytes(before)
            self._done = number + 1

    def _bytes(self, write: Write) -> bytes:
        self._source.seek(write.at)
        return self._source.read(write.size)


def judge(work: Path, log: Sequence[Write], cuts: Sequence[Cut], name: str) -> Iterator[tuple[Cut, list[str]]]:
    """Each cut with the promises that it broke."""
    image, folder, home = Image(work, log, work / f"{name}.raw", len(cuts)), work / name, Home.load(work / "home")
    folder.mkdir()
    image.write(Cut(0, "none"))
    with disk.loop(work / f"{name}.raw") as device:
        for cut in cuts:
            image.write(cut)
            try:
                with disk.mounted(device, folder) as root:
                    yield cut, check(root, home, Told.of(image.told))
            except OSError as problem:
                yield cut, [f"file system: {problem}"]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def record(work: Path, rounds: int) -> list[Write]:
    """One run of a node's processes on the recorded disk."""
    (work / "home").mkdir()
    enrol(work / "home")
    with disk.recording(work) as here:
        words = [sys.executable, "-m", "tests.powercut.workload", here.folder, work / "home", here.marks]
        room = disk.MARKS // 2
        actors = (("camera", disk.SIZE), ("neighbours", disk.SIZE + room))
        running = [subprocess.Popen([*words, str(offset), str(rounds), actor]) for actor, offset in actors]
        if sum(process.wait(300) for process in running):
            raise SystemExit("error: the workload failed")
    return disk.read_log(work)


def _share(work: Path, log: Sequence[Write], cuts: Sequence[Cut], name: str, first: bool) -> list[tuple[Cut, list[str]]]:
    judged = []
    for one in judge(work, log, cuts, name):
        judged.append(one)
        if first and one[1]:
            break
    return judged


def replay(work: Path, states: int, seed: int, rounds: int, first: bool) -> int:
    """Record, judge, print; how many cuts broke a promise."""
    log = record(work, rounds)
    cuts, began, workers = choose(log, states, seed), time.monotonic(), min(2, os.cpu_count() or 1)
    flushes, marks = sum(write.flush for write in log), sum(write.mark for write in log)
    say(f"log: {len(log)} entries, {flushes} flushes, {marks} facts told; {dict(Counter(cut.keep for cut in cuts))}")
    shares = [(work, log, cuts[number::workers], f"worker-{number}", first) for number in range(workers)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        judged = sorted(one for share in pool.starmap(_share, shares) for one in share)
    bad = [(cut, problems) for cut, problems in judged if problems]
    for cut, problems in bad[:20]:
        say(f"cut after entry {cut.at} of {len(log)}, keeping {cut.keep}: {'; '.join(problems[:4])[:400]}")
    took = time.monotonic() - began
    say(f"states {len(judged)}, violations {len(bad)}, {took / len(judged):.3f} s a state, {took:.0f} s")
    return len(bad)


def main() -> int:
    words = argparse.ArgumentParser(prog="replay")
    words.add_argument("--states", type=int, default=210)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--rounds", type=int, default=14)
    words.add_argument("--first", action="store_true")
    given = words.parse_args()
    if disk.INSIDE not in os.environ:
        if reason := disk.unavailable():
            say(f"skipped: the power-cut replay {reason}")
            return 0
        command = [*disk.ALONE, sys.executable, "-m", "tests.powercut.replay", *sys.argv[1:]]
        return subprocess.run(command, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="lykta-powercut-") as folder:
        # In memory, and gone with this process's mounts.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1G", "scratch", folder], check=True)
        try:
            return int(replay(Path(folder), given.states, given.seed, given.rounds, given.first) > 0)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


if __name__ == "__main__":
    sys.exit(main())
