"""Which message breaks the link: after a break, messages in flight are sent alone, one after another, until each is acknowledged.

One that broke three links alone is put by, so that others pass. When another has passed, it is tried once more; if it breaks that
link too, the message is the cause and not the line, and it is set aside permanently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agent.outbox.outbox import Waiting

MOST_BREAKS = 3
Key = tuple[str, int]


def key_of(waiting: Waiting) -> Key:
    return waiting.epoch, waiting.seq


class BadMessages:
    """Facts in, decision out; the publisher sends."""

    def __init__(self) -> None:
        self._alone: set[Key] = set()
        self._breaks: Counter[Key] = Counter()
        self._put_by: dict[Key, Waiting] = {}
        self._condemned: set[Key] = set()

    def lost(self, on_their_way: Sequence[Waiting], *, blamed: bool) -> tuple[list[Waiting], list[Waiting]]:
        """A link ended with these unanswered: the messages to send again, and those to set aside permanently.

        blamed   whether a message may have caused the end
        """
        if not blamed:
            return list(on_their_way), []
        self._alone.update(map(key_of, on_their_way))
        if len(on_their_way) != 1:
            return list(on_their_way), []
        [one] = on_their_way
        key = key_of(one)
        if key in self._condemned:
            self._forget(key)
            return [], [one]
        self._breaks[key] += 1
        if self._breaks[key] < MOST_BREAKS:
            return [one], []
        self._put_by[key] = one
        return [], []

    def passed(self, waiting: Waiting) -> list[Waiting]:
        """The broker acknowledged this one, so the link works: returns the messages put by, to be tried once more."""
        self._forget(key_of(waiting))
        again = list(self._put_by.values())
        self._condemned.update(self._put_by)
        self._put_by.clear()
        return again

    def idle(self) -> list[Waiting]:
        """Nothing else waits and the link has held: returns the messages put by, to be tried again without a conclusion."""
        again = list(self._put_by.values())
        self._put_by.clear()
        return again

    def goes_alone(self, waiting: Waiting) -> bool:
        return key_of(waiting) in self._alone

    def _forget(self, key: Key) -> None:
        self._alone.discard(key)
        self._condemned.discard(key)
        self._breaks.pop(key, None)
