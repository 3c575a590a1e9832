"""Plays a file of faults into a collector's database, and judges what `lykta-central visits` makes of it.

`python -m tests.bench.fleet.judge FAULTS.toml --seed 1 --out DATABASE --judge`. The messages go through the collector's own code
for taking, writing, accounting and alarms, with its clock set to the simulated time: days pass in minutes, and end now.
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine

from central.fleet.collect.intake import Refusal, take
from central.fleet.collect.store import settling, summary, watching
from central.fleet.collect.store.writing import write
from central.fleet.collect.subscriptions import SESSION_S
from tests.bench.fleet.faults import UNKNOWN, Struck, load, strike
from tests.bench.fleet.timeline import Arrival, Timeline, beginning
from tests.support.clips import TOOL
from tests.support.collecting import ready

_BATCH, _WATCH_MS, _REPLICA = 500, 10 * 60_000, "simulated"
_HEALTHY = ""


@dataclass(frozen=True)
class Truth:
    """Of one node: the fault's name and the cause that is expected of it."""

    fault: str
    expected: str


def play(engine: Engine, arrivals: Iterable[Arrival], end: int) -> int:
    """Write all in the order of their coming, and let the collector judge every ten minutes of theirs; how many. end: ms."""
    batch: list[Arrival] = []
    due, count = 0, 0
    for one in arrivals:
        due = due or one.received + _WATCH_MS
        if len(batch) >= _BATCH or one.received >= due:
            count += _write(engine, batch)
            batch = []
        while one.received >= due:
            _watch(engine, due)
            due += _WATCH_MS
        batch.append(one)
    count += _write(engine, batch)
    _watch(engine, end)
    return count


def _write(engine: Engine, batch: list[Arrival]) -> int:
    items = [take(one.topic, one.payload, 1, one.received) for one in batch]
    for one in items:
        if isinstance(one, Refusal):
            raise ValueError(one.text)
    with engine.begin() as connection:
        write(connection, _REPLICA, items)  # type: ignore[arg-type]
    return len(items)


def _watch(engine: Engine, now: int) -> None:
    with engine.begin() as connection:
        summary.seen(connection, _REPLICA, now)
        while settling.settle(connection, now, SESSION_S * 1000):
            pass
        watching.watch(connection, now, None)


def fill(url: str, faults: Path, seed: int) -> dict[str, Truth]:
    """An empty database becomes that of the fleet in the file; what is true of each node that has a fault."""
    scene = load(faults)
    struck = strike(scene, seed)
    begin = beginning(scene.hours)
    lines = [Timeline(scene, number, struck.get(number), begin, seed) for number in range(scene.nodes)]
    engine, end = ready(url), round((begin.timestamp() + scene.hours * 3600) * 1000)
    play(engine, heapq.merge(*(one.arrivals() for one in lines), key=lambda one: one.received), end)
    engine.dispose()
    return {lines[number].name: _truth(one) for number, one in struck.items()}


def _truth(struck: Struck) -> Truth:
    return Truth(struck.fault.name, struck.fault.expected)


@dataclass(frozen=True)
class Judgement:
    """known, unknown: share named right, of nodes with a known cause and of others; false: healthy nodes that were given a cause.

    wrong   what was named instead, by fault
    """

    known: float
    unknown: float
    false: int
    wrong: dict[str, dict[str, int]]


def judge(truths: Mapping[str, Truth], named: Mapping[str, str]) -> Judgement:
    """named: cause by node; a node that is not in it was taken for healthy."""
    wrong: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    right = {True: [0, 0], False: [0, 0]}
    for node, truth in truths.items():
        found = named.get(node, _HEALTHY)
        counts = right[truth.expected == UNKNOWN]
        counts[0] += found == truth.expected
        counts[1] += 1
        if found != truth.expected:
            wrong[f"{truth.fault} ({truth.expected})"][found or "healthy"] += 1
    shares = {is_unknown: hits / many if many else 1.0 for is_unknown, (hits, many) in right.items()}
    return Judgement(
        shares[False], shares[True], len(named.keys() - truths.keys()), {name: dict(one) for name, one in wrong.items()}
    )


def visits(url: str) -> dict[str, str] | None:
    """Cause by node, by `lykta-central visits --json`; None if this lykta-central has no such command."""
    if "visits" not in subprocess.run([TOOL, "--help"], capture_output=True, text=True, check=True).stdout:
        return None
    done = subprocess.run([TOOL, "visits", "--database", url, "--json"], capture_output=True, text=True, check=True)
    return {one["node"]: one["cause"] for one in json.loads(done.stdout)["visits"]}


def main(words: list[str]) -> int:
    """0 if all went well: with --judge, 1 if less than 90 % of the known or 80 % of the unknown kinds are named right."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet.judge", description=__doc__)
    parser.add_argument("faults", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, required=True, help="the SQLite file that is made; DATABASE.json beside it has the truth"
    )
    parser.add_argument("--judge", action="store_true", help="compare with `lykta-central visits --json`")
    options = parser.parse_args(words)
    url = f"sqlite:///{options.out.resolve()}"
    truths = fill(url, options.faults, options.seed)
    options.out.with_suffix(".json").write_text(json.dumps({name: asdict(one) for name, one in truths.items()}, indent=1))
    if not options.judge:
        return 0
    named = visits(url)
    if named is None:
        sys.stderr.write("note: lykta-central has no command `visits`: nothing to judge\n")
        return 0
    found = judge(truths, named)
    sys.stdout.write(json.dumps({"v": 1, **asdict(found)}, indent=1) + "\n")
    return 0 if found.known >= 0.9 and found.unknown >= 0.8 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
