"""Which message breaks the link, or gets no answer.

After a break, messages in flight are sent alone, one after another, until each is acknowledged. One that broke three links alone
is put by, so that others pass. When another has passed, it is tried once more; if it breaks that link too, the message is the cause
and not the line, and it is set aside permanently.

A message without an answer holds up no other: it is sent again beside them. It is set aside when on a second connection, too, the
broker answered what was sent later and not this one. If the broker answered nothing that was sent later, the oldest message is put
by until another has passed, and judged like one that breaks the link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agent.outbox.outbox import Waiting
from agent.uplink.unanswered import Key, Overdue, key_of

MOST_BREAKS = 3
MOST_OVERTAKEN = 2
"""Connections on which a message was overtaken and had no answer. TCP loses no single message: two are no accident."""


class BadMessages:
    """Facts in, decision out; the publisher sends."""

    def __init__(self) -> None:
        self._alone: set[Key] = set()
        self._breaks: Counter[Key] = Counter()
        self._overtaken: Counter[Key] = Counter()
        self._unanswered: set[Key] = set()
        self._put_by: dict[Key, Waiting] = {}
        self._later: list[Waiting] = []
        self._condemned: set[Key] = set()

    @property
    def unanswered(self) -> int:
        """Number of messages that a connection was given up for and that are neither acknowledged nor set aside."""
        return len(self._unanswered)

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
        if self._convicted(one):
            return [], [one]
        if self._breaks[key_of(one)] < MOST_BREAKS:
            return [one], []
        self._put_by[key_of(one)] = one
        return [], []

    def left(self, on_their_way: Sequence[Waiting], why: Overdue, room: int) -> tuple[list[Waiting], list[Waiting]]:
        """A connection was given up because these had no answer: the messages to send again, and those to set aside permanently.

        room   of the messages that were overtaken, the most to send again on one connection: the others need the rest of the window
        """
        overtaken = list(self._later)
        others: list[Waiting] = []
        broke: list[Waiting] = []
        for one in on_their_way:
            key = key_of(one)
            if key in why.overtaken:
                self._unanswered.add(key)
                self._overtaken[key] += 1
                (broke if self._overtaken[key] >= MOST_OVERTAKEN else overtaken).append(one)
            elif key != why.first:
                others.append(one)
            elif self._convicted(one):
                broke.append(one)
            else:
                self._unanswered.add(key)
                self._put_by[key] = one
        for one in broke:
            self._forget(key_of(one))
        self._later = overtaken[room:]
        return [*overtaken[:room], *others], broke

    def passed(self, waiting: Waiting) -> list[Waiting]:
        """The broker acknowledged this one, so the link works: returns the messages put by, to be tried once more."""
        self._forget(key_of(waiting))
        again = list(self._put_by.values())
        self._condemned.update(self._put_by)
        self._put_by.clear()
        return again

    def idle(self) -> list[Waiting]:
        """Nothing else waits and the link has held: returns the messages put by, to be tried again without a conclusion."""
        again = [*self._put_by.values(), *self._later]
        self._put_by.clear()
        self._later = []
        return again

    def goes_alone(self, waiting: Waiting) -> bool:
        return key_of(waiting) in self._alone

    def holds(self, waiting: Waiting) -> bool:
        """Whether it is not to be sent now: it is put by, or waits for room among the overtaken ones."""
        return key_of(waiting) in self._put_by or waiting in self._later

    def _convicted(self, one: Waiting) -> bool:
        """Count that this one ended a link; whether it did so after the tries, and once more after another had passed."""
        key = key_of(one)
        if key in self._condemned and self._breaks[key] >= MOST_BREAKS:
            self._forget(key)
            return True
        self._condemned.discard(key)
        self._breaks[key] += 1
        return False

    def _forget(self, key: Key) -> None:
        self._alone.discard(key)
        self._condemned.discard(key)
        self._unanswered.discard(key)
        self._breaks.pop(key, None)
        self._overtaken.pop(key, None)
