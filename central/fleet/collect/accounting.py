"""Is anything missing? From the numbers heard and those that the node named: each number that was not heard, and why. Pure.

A node sends in the order of ranks, and within a rank in the order of numbers (`agent.ranks`). So a number that was skipped may
still wait on the node. It does not any more once a message of the lowest rank with a higher number was heard: all that was before
it in the outbox had been sent. Health is that rank; an outbox without health (io's) has events at least.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from agent.messages import Cause, ClipNote, Tombstone

_EVENT, _TOMBSTONE = int(ClipNote.route.rank), int(Tombstone.route.rank)
Open = Literal["waiting", "missing", "replica_away"]
Why = Cause | Open | Literal["before"]
"""Why a number was not heard: a cause that the node named; or

waiting       it may still wait on the node
replica_away  the node sent it; a replica that shares the subscription is away, and the broker may hold the message for it
missing       the node sent it, and it came to no collector
before        it was sent before this collector first heard of the node
"""
OPEN: tuple[Open, ...] = get_args(Open)
GRACE_MS = 120_000
"""Replicas need so long, at most, to store what the broker gave them."""
LONGEST_WAIT_MS = 7 * 24 * 3_600_000
"""A number for which there is no proof counts as missing so long after the node skipped it."""


@dataclass(frozen=True)
class Gap:
    """Numbers first to last, and why they were not heard. found: when that was noticed, ms."""

    first: int
    last: int
    cause: Why
    found: int


@dataclass(frozen=True)
class Epoch:
    """What is known of an outbox.

    settled  up to it each number was heard, or is in a gap
    last     highest number heard, or named by the node
    start    first number that came after the collector had subscribed; 0 if none
    new      the collector first heard of the node with this epoch: what was sent before it is not missing
    rank     lowest rank heard of it, as a number (higher is lower), tombstones left out
    proof    highest number heard of that rank or of a tombstone
    """

    settled: int = 0
    last: int = 0
    start: int = 0
    new: bool = False
    rank: int = 0
    proof: int = 0


@dataclass(frozen=True)
class Facts:
    """heard: numbers with their ranks, those above `settled` and those in open gaps; named: first, last and cause, by tombstones;
    away: since when a replica is away whose messages the broker still holds, ms; None if none is."""

    epoch: Epoch
    heard: Sequence[tuple[int, int]]
    named: Sequence[tuple[int, int, Cause]]
    gaps: Sequence[Gap]
    away: int | None
    now: int


@dataclass(frozen=True)
class Account:
    """The epoch with all up to `last` settled, and its gaps: instead of the open ones, and new ones."""

    epoch: Epoch
    gaps: tuple[Gap, ...]

    @property
    def complete(self) -> bool:
        """Whether every number was heard, or the node said why it will not come."""
        return all(gap.cause not in OPEN for gap in self.gaps)


def account(facts: Facts) -> Account:
    """Judge what came since the last account, and the gaps that were open then."""
    epoch = _proved(facts.epoch, facts.heard)
    heard = sorted(seq for seq, _ in facts.heard)
    looked = [Gap(epoch.settled + 1, epoch.last, "waiting", facts.now)] if epoch.last > epoch.settled else []
    found: list[Gap] = []
    for gap in (*facts.gaps, *looked):
        inside = heard[bisect_left(heard, gap.first) : bisect_right(heard, gap.last)]
        for first, last in _without(gap.first, gap.last, [(seq, seq) for seq in inside]):
            found += _judged(replace(gap, first=first, last=last), epoch, facts)
    return Account(replace(epoch, settled=max(epoch.last, epoch.settled)), tuple(sorted(found, key=lambda gap: gap.first)))


def _proved(epoch: Epoch, heard: Iterable[tuple[int, int]]) -> Epoch:
    """The epoch with its lowest rank and the proof that follows. Nothing above an event proves anything: it overtakes."""
    rank, proof = epoch.rank, epoch.proof
    for seq, its in sorted(heard):
        if its == _TOMBSTONE or (its == rank and rank >= _EVENT):
            proof = max(proof, seq)
        elif its > rank:
            rank, proof = its, seq if its >= _EVENT else 0
    return replace(epoch, rank=rank, proof=proof)


def _judged(gap: Gap, epoch: Epoch, facts: Facts) -> Iterator[Gap]:
    """The parts of a gap: what the node named, what was before, and the rest."""
    rest = [(gap.first, gap.last)]
    for first, last, cause in facts.named:
        for at, to in [(max(first, one[0]), min(last, one[1])) for one in rest]:
            if at <= to:
                yield Gap(at, to, cause, gap.found)
        rest = [part for one in rest for part in _without(*one, [(first, last)])]
    for first, last in rest:
        edge = min(last, epoch.start - 1) if epoch.new and epoch.start else first - 1
        if edge >= first:
            yield Gap(first, edge, "before", gap.found)
        if last > max(edge, first - 1):
            yield _open(Gap(max(edge + 1, first), last, "waiting", gap.found), epoch, facts)


def _open(gap: Gap, epoch: Epoch, facts: Facts) -> Gap:
    age = facts.now - gap.found
    if age < GRACE_MS or (epoch.proof <= gap.last and age < LONGEST_WAIT_MS):
        return gap
    if facts.away is not None and gap.found >= facts.away - GRACE_MS:
        return replace(gap, cause="replica_away")
    return replace(gap, cause="missing")


def _without(first: int, last: int, taken: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of a range. taken: ranges in the order of their first number."""
    left, at = [], first
    for begin, end in taken:
        if end < at or begin > last:
            continue
        if begin > at:
            left.append((at, begin - 1))
        at = end + 1
    return [*left, (at, last)] if at <= last else left
