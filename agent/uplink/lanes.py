"""Several outboxes for one broker: the most urgent message of all first, and a fault of one does not affect the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agent.outbox.outbox import Mark, Waiting
from agent.outbox.remote import End
from agent.runtime.service import Runtime
from agent.uplink.storing import OutboxAccess


class Source(Protocol):
    """Port to an outbox for the publisher. Each method raises `StorageError` while it cannot be reached."""

    def take(self, after: Mark, limit: int) -> list[Waiting]: ...
    def delete(self, heard: Sequence[Waiting]) -> None: ...
    def expire(self, late: Sequence[Waiting]) -> None: ...
    def give_up(self, unreadable: Sequence[Waiting]) -> None: ...
    def set_aside(self, broke: Sequence[Waiting]) -> None: ...
    def pending(self) -> int: ...


class Lane:
    """One outbox: the position in it, and its epochs."""

    def __init__(self, runtime: Runtime, source: Source, storing: OutboxAccess) -> None:
        self._source, self._storing, self._reading = source, storing, OutboxAccess(runtime)
        self._mark = Mark()
        self._epochs: set[str] = set()

    def next(self, limit: int) -> list[Waiting]:
        """The next messages; none while it cannot be reached."""
        found: list[Waiting] = []
        self._reading.attempt(lambda: found.extend(self._source.take(self._mark, limit)))
        return found

    def taken(self, waiting: Waiting) -> None:
        self._mark = self._mark.past(waiting)
        self._epochs.add(waiting.epoch)

    def pending(self) -> int:
        """Messages that wait; 0 while it cannot be reached, as none can be sent."""
        found = [0]
        self._reading.attempt(lambda: found.append(self._source.pending()))
        return found[-1]

    def remove_claimed(self, messages: Sequence[Waiting], end: End) -> list[Waiting]:
        """Delete those of its own messages; returns those that could not be deleted now."""
        source = self._source
        ends = {"heard": source.delete, "expired": source.expire, "corrupt": source.give_up, "set_aside": source.set_aside}
        mine = [one for one in messages if one.epoch in self._epochs]
        return mine if mine and not self._storing.attempt(lambda: ends[end](mine)) else []


class Lanes:
    """All lanes, in the order of sending for messages of equal urgency."""

    def __init__(self, *lanes: Lane) -> None:
        self._lanes = lanes

    def take(self, limit: int) -> list[Waiting]:
        """Messages that were not taken before, at most `limit`."""
        found = [(lane, waiting) for lane in self._lanes for waiting in lane.next(limit)]
        chosen = sorted(found, key=lambda one: one[1].rank)[:limit]
        for lane, waiting in chosen:
            lane.taken(waiting)
        return [waiting for _, waiting in chosen]

    def remove_claimed(self, messages: Sequence[Waiting], end: End) -> list[Waiting]:
        """Delete messages; returns those to delete later. A message of none of the lanes is ignored."""
        return [one for lane in self._lanes for one in lane.remove_claimed(messages, end)]

    def pending(self) -> int:
        """Messages that wait in all outboxes that can be reached."""
        return sum(lane.pending() for lane in self._lanes)
