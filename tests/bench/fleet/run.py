"""A fleet of simulated nodes against the real broker and the real collector: `python -m tests.bench.fleet.run --help`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from drivers.threads import start
from tests.bench.fleet.accounts import Verdict, judge
from tests.bench.fleet.centre import Rig, rig
from tests.bench.fleet.delays import Delays, Watcher, judged, of_postgres
from tests.bench.fleet.fleet import Fleet, Plan
from tests.bench.fleet.loop import Loop

_LOOK_S, _RAMP_S, _DRAIN_S = 0.02, 600.0, 900.0


@dataclass(frozen=True)
class Course:
    """What happens: seconds of calm, which is what is measured; then the broker starts anew, the collector is killed."""

    calm_s: float = 120.0
    restart: bool = True
    kill: bool = True


@dataclass(frozen=True)
class Result:
    """What was measured.

    messages  in the calm; cpu: share of a core there, by process; late_s: by which the simulator's timers were late, at most
    ramp_s    until all nodes were connected for the first time
    back_s    from the broker's return to the last node's; None without a restart
    """

    nodes: int
    tls: bool
    database: str
    messages: int
    cpu: dict[str, float]
    delays: Delays
    ramp_s: float
    back_s: float | None
    late_s: float
    verdict: Verdict

    @property
    def node_us(self) -> float:
        """Collector's CPU a node and second, microseconds."""
        return self.cpu["collector"] / self.nodes * 1e6


def simulate(plan: Plan, course: Course, *, tls: bool, database: str, say: Callable[[str], None] = lambda _: None) -> Result:
    """One run from an empty database to an empty outbox of each node."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    quick, slow = tempfile.TemporaryDirectory(dir=place), tempfile.TemporaryDirectory(prefix="lykta-fleet-")
    with quick as files, slow as name, rig(Path(name), tls=tls, database=database) as running:
        return _Run(running, plan, course, Path(files), say).run(tls, database)


class _Run:
    def __init__(self, running: Rig, plan: Plan, course: Course, folder: Path, say: Callable[[str], None]) -> None:
        self._rig, self._plan, self._course, self._say = running, plan, course, say
        self._loop, self._random, self._trouble = Loop(), random.Random(plan.seed), list[BaseException]()
        self._began = time.time() * 1000
        self._fleet = Fleet(self._loop, running, plan, folder)
        url = running.collector.url
        self._watcher = None if running.server else Watcher(Path(url.removeprefix("sqlite:///")))
        self._back_at = 0.0

    def run(self, tls: bool, database: str) -> Result:
        began = time.monotonic()
        self._fleet.begin()
        self._look()
        self._await(self._fleet.all_up, _RAMP_S, "all nodes are connected")
        ramp_s = time.monotonic() - began
        self._say(f"{self._fleet.up} nodes connected after {ramp_s:.0f} s")
        self._loop.run(min(10.0, self._course.calm_s))
        messages, cpu, delays = self._calm()
        late_s = self._loop.late_s
        self._fleet.alarms()
        self._fleet.lose_links()
        back_s = self._storm()
        self._loop.run(min(10.0, self._course.calm_s))
        self._fleet.quiet()
        self._say("quiet")
        self._await(self._fleet.drained, _DRAIN_S, "the nodes' outboxes are empty")
        return Result(len(self._fleet.nodes), tls, database, messages, cpu, delays, ramp_s, back_s, late_s, self._verdict())

    def _calm(self) -> tuple[int, dict[str, float], Delays]:
        before, sent, first, mono = self._rig.cpu(), self._fleet.sent, time.time() * 1000, time.monotonic()
        self._loop.late_s = 0.0
        self._loop.run(self._course.calm_s)
        seconds, last = time.monotonic() - mono, time.time() * 1000
        shares = {name: (value - before[name]) / seconds for name, value in self._rig.cpu().items()}
        self._loop.run(2.0)
        seen = self._watcher.seen if self._watcher else of_postgres(self._rig.collector.url, first, last)
        return self._fleet.sent - sent, shares, judged(seen, first, last)

    def _storm(self) -> float | None:
        """The collector is killed at a random moment, then the broker starts anew; seconds until all nodes are back."""
        if self._course.kill:
            self._loop.run(self._random.uniform(0.5, 3.0))
            self._rig.collector.kill()
            self._say("collector killed")
            self._loop.run(2.0)
            self._rig.collector.start(wait=False)
        if not self._course.restart:
            return None
        self._loop.run(self._random.uniform(1.0, 4.0))
        start("broker", self._restart, self._trouble.append)
        self._await(lambda: self._back_at > 0, 120, "the broker listens again")
        self._await(lambda: all(one.up_at > self._back_at or one.away for one in self._fleet.nodes), _RAMP_S, "all nodes are back")
        back_s = time.monotonic() - self._back_at
        self._say(f"all back {back_s:.1f} s after the broker")
        return back_s

    def _restart(self) -> None:
        self._rig.broker.stop()
        self._rig.broker.start()
        self._back_at = time.monotonic()

    def _verdict(self) -> Verdict:
        """When the collector has stored what it was sent, and made its account of it."""
        engine = self._rig.reader()
        judge_now = partial(judge, engine, self._fleet.nodes, self._began)
        end = time.monotonic() + _DRAIN_S
        while not (verdict := judge_now()).good and time.monotonic() < end and (verdict.lost or verdict.open):
            self._say(f"waits: {verdict}")
            self._loop.run(3.0)
        engine.dispose()
        return verdict

    def _look(self) -> None:
        if self._watcher:
            self._watcher.look()
            self._loop.after(_LOOK_S, self._look)

    def _await(self, met: Callable[[], bool], limit_s: float, what: str) -> None:
        """Run the fleet until something is so."""
        checked = _Seldom(met)
        if not self._loop.run(limit_s, lambda: bool(self._trouble) or checked()):
            raise TimeoutError(f"waited {limit_s:g} s in vain until {what}: {self._fleet.up} of {len(self._fleet.nodes)} connected")
        if self._trouble:
            raise self._trouble[0]


class _Seldom:
    """A question that is asked four times a second only: it looks at every node."""

    def __init__(self, met: Callable[[], bool]) -> None:
        self._met, self._next = met, 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + 0.25
        return self._met()


HEAD = (
    *("nodes", "TLS", "database", "messages/s", "collector", "broker", "database", "simulator", "collector µs a node and s"),
    *("p50 ms", "p99 ms", "back s", "lost", "twice", "open"),
)


def cells(one: Result, calm_s: float) -> tuple[object, ...]:
    """One row of the table."""
    cpu = {name: f"{share:.1%}" for name, share in one.cpu.items()}
    back, verdict, delays = "" if one.back_s is None else f"{one.back_s:.1f}", one.verdict, one.delays
    return (
        *(one.nodes, "mutual" if one.tls else "no", one.database, f"{one.messages / calm_s:.0f}"),
        *(cpu["collector"], cpu["broker"], cpu.get("database", "in collector"), cpu["fleet"], f"{one.node_us:.0f}"),
        *(f"{delays.p50:.0f}", f"{delays.p99:.0f}", back),
        *(verdict.lost + verdict.unexplained, verdict.extra + verdict.conflicts, verdict.open),
    )


def line(texts: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, texts)) + " |"


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet.run", description=__doc__)
    parser.add_argument("--nodes", default="100,300", help="how many; several with commas are run one after the other")
    parser.add_argument("--tls", action="store_true", help="mutual TLS, a certificate for each node; else a plain listener")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--calm", type=float, default=120.0, metavar="SECONDS", help="measured before the storm")
    parser.add_argument("--minute", type=float, default=60.0, metavar="SECONDS", help="length of a node's minute; 60 is real")
    parser.add_argument("--no-restart", action="store_true", help="leave the broker running")
    parser.add_argument("--no-kill", action="store_true", help="leave the collector running")
    parser.add_argument("--outages", type=float, default=0.05, metavar="SHARE", help="nodes whose link is lost for 90 s")
    parser.add_argument("--clocks", type=float, default=0.02, metavar="SHARE", help="nodes whose clock is wrong by 400 days")
    parser.add_argument("--away", type=int, default=0, metavar="NODES", help="more nodes, with the node's own outbox")
    parser.add_argument("--days", type=float, default=7.0, help="that those were away")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """0 if nothing was lost, counted twice or left without a cause."""
    options = _options(words)
    say = partial(print, file=sys.stderr, flush=True)
    course = Course(options.calm, not options.no_restart, not options.no_kill)
    results = []
    for nodes in map(int, options.nodes.split(",")):
        plan = Plan(nodes, options.away, options.days, options.minute, options.outages, 90.0, options.clocks, options.seed)
        results.append(simulate(plan, course, tls=options.tls, database=options.database, say=say))
    if options.json:
        found: dict[str, Any] = {"v": 1, "calm_s": course.calm_s, "minute_s": options.minute}
        found["results"] = [asdict(one) for one in results]
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        table = (HEAD, ("---" for _ in HEAD), *(cells(one, course.calm_s) for one in results))
        sys.stdout.write("".join(f"{line(one)}\n" for one in table))
    for example in (text for one in results for text in one.verdict.examples):
        say(example)
    return 0 if all(one.verdict.good for one in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
