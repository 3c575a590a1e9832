"""Who fell silent, or had its link rescued, at the same time as whom."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence

from central.fleet.visits.evidence import DAY_MS, FLEET_SHARE, MINUTE_MS, Silence
from central.fleet.visits.suspects import Fleet, Member

TOGETHER_MS = 90_000
"""Wills of nodes that lost power at once differ by a keep-alive (20 s, counted one and a half times by the broker), and by the time
that a board lives on what its capacitors hold."""
_FLEET_MS = 6 * MINUTE_MS
"""A broker that dies sends no wills: then the last messages count, which are up to five minutes apart."""
RESCUED_MS = 30 * MINUTE_MS
"""The rescue's first steps come after 15 and 30 minutes."""
_MOST_TIMES = 60


class Groups:
    """Who fell silent, or had its link rescued, at the same time as whom."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self.members = fleet, fleet.members
        self._areas: dict[str, list[str]] = defaultdict(list)
        for member in self.members.values():
            self._areas[member.area].append(member.node)
        self._fell = sorted(member.fell_ms for member in self.members.values() if member.fell_ms is not None)
        self._fell_in: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for member in self.members.values():
            if member.fell_ms is not None:
                self._fell_in[member.area].append((member.fell_ms, member.node))
        self._rescued_in: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for node, times in fleet.rescues.items():
            if node in self.members:
                self._rescued_in[self.members[node].area] += [(at, node) for at in times]
        for pairs in (*self._fell_in.values(), *self._rescued_in.values()):
            pairs.sort()

    def area_of(self, node: str) -> list[str]:
        return self._areas[self.members[node].area]

    def silence(self, member: Member) -> Silence | None:
        if (at := member.fell_ms) is None:
            return None
        others = _near(self._fell_in[member.area], at, TOGETHER_MS) - {member.node}
        told = sum(any(at - DAY_MS < one <= at for one in self._fleet.rescues.get(node, ())) for node in {*others, member.node})
        together = bisect_right(self._fell, at + _FLEET_MS) - bisect_left(self._fell, at - _FLEET_MS)
        until_then = len(self.members) - bisect_left(self._fell, at - _FLEET_MS)
        # Of fewer than three nodes nothing can be said about a fleet.
        return Silence(at, len(others), told, together / until_then if together >= 3 else 0.0)

    def with_the_fleet(self, node: str) -> bool:
        """Whether the node fell silent together with half of the fleet."""
        silence = self.silence(self.members[node])
        return silence is not None and silence.fleet_share >= FLEET_SHARE

    def rescued_together(self, member: Member) -> int:
        times, pairs = self._fleet.rescues.get(member.node, ()), self._rescued_in[member.area]
        return max((len(_near(pairs, at, RESCUED_MS) - {member.node}) for at in times[:_MOST_TIMES]), default=0)


def _near(pairs: Sequence[tuple[int, str]], at: int, within: int) -> set[str]:
    """Nodes of pairs, sorted by time, within that time of `at`."""
    return {node for _, node in pairs[bisect_left(pairs, (at - within, "")) : bisect_right(pairs, (at + within, "\U0010ffff"))]}
