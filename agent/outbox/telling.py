"""What a service says: messages to the centre and entries of its journal, now or as soon as the disk takes them."""

from __future__ import annotations

from collections.abc import Callable

from agent.messages import Body
from agent.outbox.backlog import Backlog
from agent.outbox.outbox import Outbox
from privacy.errors import StorageError
from privacy.records.journal import Fact, Journal


class Telling:
    """May be used from several threads.

    journal  None: there is no key to sign it with, and no entry is written
    apart    whether messages and entries wait for each other: what the centre hears of a clip an auditor must find, so they do;
             help waits for no journal, so io's do not
    """

    def __init__(self, outbox: Outbox, journal: Journal | None, *, apart: bool = False) -> None:
        self._outbox, self._journal = outbox, journal
        self._messages = Backlog()
        self._entries = Backlog() if apart else self._messages

    def note(self, kind: str, **facts: Fact) -> None:
        """An entry of the unit's journal."""
        if journal := self._journal:
            self._entries.add(lambda: journal.append(kind, **facts))

    def say(self, *bodies: Body) -> None:
        """Messages to the centre, together."""
        self._messages.add(lambda: self._outbox.put(*bodies))

    def clear(self, tail: str) -> None:
        """What stood at this topic is over."""
        self._messages.add(lambda: self._outbox.clear(tail))

    def add(self, work: Callable[[], object]) -> None:
        """Another write that must wait for the same disk, in its order among the messages; it raises `StorageError`."""
        self._messages.add(work)

    def retry(self) -> None:
        """Everything that waits, in order, until the disk refuses."""
        self._messages.retry()
        self._entries.retry()

    @property
    def trouble(self) -> StorageError | None:
        """Why the disk refused what waits first; None while nothing waits."""
        return self._messages.trouble or self._entries.trouble

    @property
    def lost(self) -> int:
        """Writes that there was no room for while the disk refused."""
        return self._messages.lost + (self._entries.lost if self._entries is not self._messages else 0)
