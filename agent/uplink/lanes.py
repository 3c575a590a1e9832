"""Several outboxes on their way to one broker: the most urgent of all first, and the troubles of one cost the others nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agent.outbox.outbox import Mark, Waiting
from agent.outbox.remote import End
from agent.runtime.service import Runtime
from agent.uplink.storing import OutboxAccess


class Source(Protocol):
    """An outbox as the publisher needs it. Each method raises `StorageError` while it cannot be reached."""

    def take(self, after: Mark, limit: int) -> list[Waiting]: ...
    def delete(self, heard: Sequence[Waiting]) -> None: ...
    def expire(self, late: Sequence[Waiting]) -> None: ...
    def give_up(self, unreadable: Sequence[Waiting]) -> None: ...
    def set_aside(self, broke: Sequence[Waiting]) -> None: ...
    def pending(self) -> int: ...


class Lane:
    """One outbox: how far it was taken, and the epochs that were its own."""

    def __init__(self, runtime: Runtime, source: Source, storing: OutboxAccess) -> None:
        self._source, self._storing, self._reading = source, storing, OutboxAccess(runtime)
        self._mark = Mark()
        self._epochs: set[str] = set()

    def next(self, limit: int) -> list[Waiting]:
        """Nothing while it cannot be reached."""
        found: list[Waiting] = []
        self._reading.attempt(lambda: found.extend(self._source.take(self._mark, limit)))
        return found

    def taken(self, waiting: Waiting) -> None:
        self._mark = self._mark.past(waiting)
        self._epochs.add(waiting.epoch)

    def pending(self) -> int:
        """0 while it cannot be reached: nothing that waits there can be sent."""
        found = [0]
        self._reading.attempt(lambda: found.append(self._source.pending()))
        return found[-1]

    def let_go(self, messages: Sequence[Waiting], end: End) -> list[Waiting]:
        """Those of its own that it could not let go of now."""
        source = self._source
        ends = {"heard": source.delete, "expired": source.expire, "corrupt": source.give_up, "set_aside": source.set_aside}
        mine = [one for one in messages if one.epoch in self._epochs]
        return mine if mine and not self._storing.attempt(lambda: ends[end](mine)) else []


class Lanes:
    """All of them, in the order in which they go where they are equally urgent."""

    def __init__(self, *lanes: Lane) -> None:
        self._lanes = lanes

    def take(self, limit: int) -> list[Waiting]:
        """What was not taken before, at most so many."""
        found = [(lane, waiting) for lane in self._lanes for waiting in lane.next(limit)]
        chosen = sorted(found, key=lambda one: one[1].rank)[:limit]
        for lane, waiting in chosen:
            lane.taken(waiting)
        return [waiting for _, waiting in chosen]

    def let_go(self, messages: Sequence[Waiting], end: End) -> list[Waiting]:
        """What has to be let go of later; what lies in none of them any more is gone."""
        return [one for lane in self._lanes for one in lane.let_go(messages, end)]

    def pending(self) -> int:
        """Messages in all that can be reached."""
        return sum(lane.pending() for lane in self._lanes)
