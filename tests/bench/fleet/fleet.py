"""Many nodes in one thread: their births, minutes, events, alarms, outages and clock faults."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from agent.messages import Alarm, Body
from tests.bench.fleet import cadence
from tests.bench.fleet.centre import Rig
from tests.bench.fleet.loop import Loop
from tests.bench.fleet.node import Node
from tests.bench.fleet.outboxes import KeptOutbox, MemoryOutbox, NodeClock
from tests.bench.weeks import MINUTES, happens

_ALARM = Alarm("tamper", "found", "")
_RAMP = 100
"""Nodes that are started in a second, at the beginning."""


@dataclass(frozen=True)
class Plan:
    """What there is.

    nodes            in memory; kept: more of them with the node's own outbox, that were away for `days`
    minute_s         seconds between two batches of health; 60 is the node's cadence
    outages, clocks  share of the nodes whose link is lost for `outage_s`, or whose clock is wrong
    """

    nodes: int = 100
    kept: int = 0
    days: float = 7.0
    minute_s: float = 60.0
    outages: float = 0.0
    outage_s: float = 90.0
    clocks: float = 0.0
    seed: int = 1


class Fleet:
    """All nodes, and what they say until `quiet`."""

    def __init__(self, loop: Loop, rig: Rig, plan: Plan, folder: Path) -> None:
        self._loop, self._plan, self._random, self._silent = loop, plan, random.Random(plan.seed), False
        wrong = round(plan.nodes * plan.clocks)
        self.nodes = [self._node(rig, f"city/stop-{number}", number <= wrong) for number in range(1, plan.nodes + 1)]
        self.nodes += [self._kept(rig, f"city/away-{number}", folder) for number in range(1, plan.kept + 1)]

    @property
    def up(self) -> int:
        return sum(1 for one in self.nodes if one.up_at)

    @property
    def sent(self) -> int:
        return sum(one.account.sent for one in self.nodes)

    def all_up(self) -> bool:
        return all(one.up_at for one in self.nodes)

    def begin(self) -> None:
        for number, node in enumerate(self.nodes):
            self._loop.after(number / _RAMP, node.begin)
            self._loop.after(number / _RAMP + self._random.uniform(0, self._health_s), lambda node=node: self._health(node))  # type: ignore[misc]
            happening = cadence.events(self._random)
            self._loop.after(number / _RAMP, lambda node=node, happening=happening: self._event(node, happening))  # type: ignore[misc]

    def lose_links(self) -> None:
        """Of some nodes, spread over ten seconds."""
        for node in self._random.sample(self.nodes, round(self._plan.outages * len(self.nodes))):
            self._loop.after(self._random.uniform(0, 10), lambda node=node: node.lose_link(self._plan.outage_s))  # type: ignore[misc]

    def quiet(self) -> None:
        """Nothing new is said; what waits is still sent."""
        self._silent = True

    def drained(self) -> bool:
        return self.all_up() and not any(one.waiting() for one in self.nodes)

    def _node(self, rig: Rig, name: str, wrong: bool) -> Node:
        clock = NodeClock(timedelta(days=-400), "unknown") if wrong else NodeClock()
        store = MemoryOutbox(clock)
        node = Node(self._loop, name, store, clock, rig.address(name), self._random)
        store.put(*cadence.birth(name, clock.now()))
        return node

    def _kept(self, rig: Rig, name: str, folder: Path) -> Node:
        """A node that had no link for days, and was started anew since."""
        days, clock = self._plan.days, NodeClock()
        clock.step = -timedelta(days=days)
        store = KeptOutbox(folder / f"{name.replace('/', '-')}.db", *name.split("/"), clock)
        store.put(*cadence.birth(name, clock.now()))
        began, batch = time.time(), cadence.batch()
        for minute in range(round(days * MINUTES)):
            clock.step = timedelta(minutes=minute, days=-days, seconds=began - time.time())
            if bodies := [*(batch if minute % cadence.HEALTH_MINUTES == 0 else ()), *happens(minute)]:
                store.put(*bodies)
        clock.step = timedelta(0)
        clock.reboot()
        return Node(self._loop, name, store, clock, rig.address(name), self._random)

    @property
    def _health_s(self) -> float:
        return self._plan.minute_s * cadence.HEALTH_MINUTES

    def _health(self, node: Node) -> None:
        if isinstance(node.store, MemoryOutbox):
            node.store.tell_gone()
        if self._say(node, cadence.batch()):
            self._loop.after(self._health_s, lambda: self._health(node))

    def _event(self, node: Node, happening: Iterator[tuple[float, list[Body]]]) -> None:
        wait, bodies = next(happening)
        self._loop.after(wait * self._plan.minute_s / 60, lambda: self._say(node, bodies) and self._event(node, happening))  # type: ignore[func-returns-value]

    def _say(self, node: Node, bodies: list[Body]) -> bool:
        if self._silent:
            return False
        node.store.put(*bodies)
        node.pump()
        return True

    def alarms(self) -> None:
        """Of each tenth node one that is over soon: its end is an empty message, whose number a tombstone names."""
        for node in self.nodes[::10]:
            if isinstance(node.store, MemoryOutbox) and self._say(node, [_ALARM]):
                self._loop.after(2.0, _clearing(node, node.store))


def _clearing(node: Node, store: MemoryOutbox) -> Callable[[], None]:
    def clear() -> None:
        store.clear(_ALARM.tail)
        store.tell_gone()
        node.pump()

    return clear
