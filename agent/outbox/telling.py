"""Output of a service: messages to the centre and journal entries, now or as soon as the disk accepts them."""

from __future__ import annotations

from collections.abc import Callable

from agent.messages import Body
from agent.outbox.backlog import Backlog
from agent.outbox.outbox import Outbox
from privacy.errors import StorageError
from privacy.records.journal import Fact, Journal


class Telling:
    """May be used from several threads.

    journal  None: there is no key to sign with, and no entry is written
    apart    whether messages and entries are queued separately. For clips they are not: what the centre receives an auditor must
             find in the journal; for io they are: help does not wait for the journal
    """

    def __init__(self, outbox: Outbox, journal: Journal | None, *, apart: bool = False) -> None:
        self._outbox, self._journal = outbox, journal
        self._messages = Backlog()
        self._entries = Backlog() if apart else self._messages

    def note(self, kind: str, /, **facts: Fact) -> None:
        """An entry of the unit's journal."""
        if journal := self._journal:
            self._entries.add(lambda: journal.append(kind, **facts))

    def begin_segment(self, **facts: Fact) -> bool:
        """Close the journal's current segment: the next one begins with this entry. Whether the disk has taken that."""
        journal = self._journal
        if journal is None:
            return False
        self._entries.add(lambda: journal.begin_segment("segment_begun", **facts))
        return self._entries.trouble is None

    def say(self, *bodies: Body) -> None:
        """Messages to the centre, together."""
        self._messages.add(lambda: self._outbox.put(*bodies))

    def clear(self, tail: str) -> None:
        """Clear a retained message."""
        self._messages.add(lambda: self._outbox.clear(tail))

    def add(self, work: Callable[[], object]) -> None:
        """Queue another write in order among the messages; it may raise `StorageError`."""
        self._messages.add(work)

    def retry(self) -> None:
        """Do all writes that wait, in order, until the disk refuses."""
        self._messages.retry()
        self._entries.retry()

    @property
    def trouble(self) -> StorageError | None:
        """Why the disk refused the first write that waits; None while nothing waits."""
        return self._messages.trouble or self._entries.trouble

    @property
    def lost(self) -> int:
        """Writes lost because the queue was full while the disk refused."""
        return self._messages.lost + (self._entries.lost if self._entries is not self._messages else 0)
