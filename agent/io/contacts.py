"""What the edges of a contact come to. The decider is pure: facts in, decision out; times are milliseconds since boot.

A change counts at once. Where each change costs a message (door, case), one that comes soon after another rests first, the longer
the contact chatters, so that it cannot fill the outbox. What is told last is always how the contact stands, and a change that went
back before it was told is told too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock

import msgspec
from msgspec import Struct

from drivers.gpio.port import INPUTS, Input

REST_MS = 500
LONGEST_REST_MS = 60_000
RESTS: frozenset[Input] = frozenset({"door", "tamper"})
"""Contacts of which each change is a message. A help button never rests: a press counts at its first edge."""
NORMAL: frozenset[Input] = frozenset({"door", "tamper"})
"""Closed when nothing is the matter; the others are open."""


class Contact(Struct, frozen=True):
    """One contact.

    told     closed, as it was last told; `told_ms` is when
    closed   as it stands
    moved    it stood otherwise than was told at some time since
    rest_ms  from one telling to the next; 0 for a contact that never rests
    late     its change has been waiting for that
    """

    told: bool
    closed: bool
    rest_ms: int
    told_ms: int = 0
    moved: bool = False
    late: bool = False


def seen(contact: Contact, closed: bool) -> Contact:
    """It was seen to be closed or open: an edge, or a look."""
    return msgspec.structs.replace(contact, closed=closed, moved=contact.moved or closed != contact.told)


def decided(contact: Contact, now_ms: int) -> tuple[Contact, tuple[bool, ...]]:
    """The changes to tell now, in order, each closed or open; none while nothing changed or it rests."""
    if not contact.moved:
        return contact, ()
    if contact.told_ms and now_ms - contact.told_ms < contact.rest_ms:
        return msgspec.structs.replace(contact, late=True), ()
    changes = (contact.closed,) if contact.closed != contact.told else (not contact.closed, contact.closed)
    rest_ms = min(LONGEST_REST_MS, 2 * contact.rest_ms) if contact.late else min(REST_MS, contact.rest_ms)
    return Contact(contact.closed, contact.closed, rest_ms, now_ms), changes


class Contacts:
    """All fitted contacts, each for itself: edges come from several threads, one thread takes the changes.

    as_found   contacts of which the first look is no change: nobody holds what was closed before anybody watched
    """

    def __init__(self, fitted: Iterable[str], as_found: Mapping[Input, bool]) -> None:
        self._lock = Lock()
        self._contacts = {part: _untold(part, as_found.get(part, part in NORMAL)) for part in INPUTS if part in fitted}

    def edge(self, part: Input, closed: bool) -> None:
        """Waits for nothing but another edge."""
        with self._lock:
            self._contacts[part] = seen(self._contacts[part], closed)

    def look(self, closed: Callable[[Input], bool]) -> None:
        """How each stands, whatever edge was lost: read under the lock, so that no edge that is on its way is older."""
        for part in self._contacts:
            with self._lock:
                self._contacts[part] = seen(self._contacts[part], closed(part))

    def changes(self, now_ms: int) -> Iterator[tuple[Input, bool]]:
        """What is to be told now, the help button first."""
        for part in self._contacts:
            with self._lock:
                self._contacts[part], told = decided(self._contacts[part], now_ms)
            yield from ((part, closed) for closed in told)


def _untold(part: Input, closed: bool) -> Contact:
    """Before the first look: as if nothing were the matter, so that whatever is gets told."""
    return Contact(closed, closed, REST_MS if part in RESTS else 0)
