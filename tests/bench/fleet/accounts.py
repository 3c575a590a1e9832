"""Was anything lost or counted twice? What the nodes know against what stands in the collector's database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Engine

from agent.uplink.publisher import LATE_S
from central.fleet.collect.accounting import OPEN
from tests.bench.fleet.node import Node
from tests.support.collecting import rows

_EXAMPLES = 5


@dataclass
class Verdict:
    """Counts, of which all must be 0 except sent, stored and late.

    sent         messages that brokers acknowledged; stored: rows of these nodes
    lost         acknowledged by the broker and not stored
    unexplained  numbers neither stored nor named by a tombstone of the node
    open         numbers that the collector takes for missing or waiting
    extra        stored under a number that the node did not send: counted twice, or made up
    conflicts    second messages with a number that another content had
    unordered    stored before an earlier message of the same topic, wills left out
    unmarked     stamped long before the run began, and not marked as late
    late         marked as late
    refused      refused by the broker
    waiting      that a node still holds
    """

    sent: int = 0
    stored: int = 0
    lost: int = 0
    unexplained: int = 0
    open: int = 0
    extra: int = 0
    conflicts: int = 0
    unordered: int = 0
    unmarked: int = 0
    late: int = 0
    refused: int = 0
    waiting: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        faults = (self.lost, self.unexplained, self.open, self.extra, self.conflicts, self.unordered, self.unmarked, self.refused)
        return self.sent > 0 and not any(faults) and not self.waiting


class Row(NamedTuple):
    """Of one message in the database; times in ms since 1970."""

    seq: int
    tail: str
    received: int
    told: int
    late: bool


def judge(engine: Engine, nodes: Iterable[Node], began: float) -> Verdict:
    """began: of the run, ms since 1970."""
    verdict = Verdict()
    stored: dict[str, list[Row]] = defaultdict(list)
    for epoch, *row in rows(engine, "SELECT epoch, seq, tail, received, told, late FROM messages ORDER BY seq"):
        stored[epoch].append(Row(*row))
    for node in nodes:
        _one(verdict, node, stored.pop(node.store.epoch, []), began)
    verdict.extra += sum(map(len, stored.values()))
    marks = ", ".join(f"'{one}'" for one in OPEN)
    verdict.open = int(rows(engine, f"SELECT coalesce(sum(last - first + 1), 0) FROM gaps WHERE cause IN ({marks})")[0][0])
    verdict.conflicts = int(rows(engine, "SELECT count(*) FROM conflicts")[0][0])
    return verdict


def _one(verdict: Verdict, node: Node, rows_: list[Row], began: float) -> None:
    account, waiting, found = node.account, node.waiting(), {one.seq for one in rows_}
    lost = account.heard - found
    unexplained = set(range(1, node.store.last() + 1)) - found - account.named - waiting
    verdict.sent += len(account.heard)
    verdict.stored += len(found)
    verdict.lost += len(lost)
    verdict.unexplained += len(unexplained)
    verdict.extra += len(found - account.heard - account.named)
    verdict.refused += account.refused
    verdict.waiting += len(waiting)
    verdict.late += sum(one.late for one in rows_)
    verdict.unmarked += sum(one.told < began - LATE_S * 1000 and not one.late for one in rows_)
    verdict.unordered += _unordered([one for one in rows_ if one.seq not in account.named])
    if (lost or unexplained) and len(verdict.examples) < _EXAMPLES:
        verdict.examples.append(f"{node.name}, {node.store.last()}: lost {sorted(lost)[:5]}, unexplained {sorted(unexplained)[:5]}")


def _unordered(rows_: list[Row]) -> int:
    last: dict[str, int] = defaultdict(int)
    count = 0
    for one in rows_:
        count += one.received < last[one.tail]
        last[one.tail] = one.received
    return count
