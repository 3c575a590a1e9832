"""Debouncing of contacts. The decision is pure: facts in, decision out; times are milliseconds since boot.

A change is reported at once. Where each change costs a message (door, case), one soon after another is delayed, the longer the
contact chatters, so that it cannot fill the outbox. The last report is always the contact's position, and a change that was
reversed before it was reported is reported too.
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
"""Contacts of which each change is a message. A help button is never delayed: a press counts at its first edge."""
NORMAL: frozenset[Input] = frozenset({"door", "tamper"})
"""Contacts that are closed in the normal state; the others are open."""


class Contact(Struct, frozen=True):
    """One contact.

    reported   whether closed, as last reported; `reported_ms` is when
    closed     its position now
    moved      its position differed from the last report at some time since
    rest_ms    least time between two reports; 0 for a contact that is never delayed
    late       a change waits for the end of that time
    """

    reported: bool
    closed: bool
    rest_ms: int
    reported_ms: int = 0
    moved: bool = False
    late: bool = False


def seen(contact: Contact, closed: bool) -> Contact:
    """The contact after it was read as closed or open, at an edge or by polling."""
    return msgspec.structs.replace(contact, closed=closed, moved=contact.moved or closed != contact.reported)


def decided(contact: Contact, now_ms: int) -> tuple[Contact, tuple[bool, ...]]:
    """The changes to report now, in order, each closed or open; none without a change or during the delay."""
    if not contact.moved:
        return contact, ()
    if contact.reported_ms and now_ms - contact.reported_ms < contact.rest_ms:
        return msgspec.structs.replace(contact, late=True), ()
    changes = (contact.closed,) if contact.closed != contact.reported else (not contact.closed, contact.closed)
    rest_ms = min(LONGEST_REST_MS, 2 * contact.rest_ms) if contact.late else min(REST_MS, contact.rest_ms)
    return Contact(contact.closed, contact.closed, rest_ms, now_ms), changes


class Contacts:
    """All fitted contacts, each debounced by itself: edges come from several threads, one thread takes the changes.

    as_found   contacts whose first reading is no change, with the position that is assumed
    """

    def __init__(self, fitted: Iterable[str], as_found: Mapping[Input, bool]) -> None:
        self._lock = Lock()
        self._contacts = {part: _unreported(part, as_found.get(part, part in NORMAL)) for part in INPUTS if part in fitted}

    def edge(self, part: Input, closed: bool) -> None:
        """An edge of a contact; waits only for the lock, which edges and readings hold briefly."""
        with self._lock:
            self._contacts[part] = seen(self._contacts[part], closed)

    def look(self, closed: Callable[[Input], bool]) -> None:
        """Poll each contact, as edges may be lost: read under the lock, so that no edge still to come is older than the reading."""
        for part in self._contacts:
            with self._lock:
                self._contacts[part] = seen(self._contacts[part], closed(part))

    def changes(self, now_ms: int) -> Iterator[tuple[Input, bool]]:
        """The changes to report now, the help button first."""
        for part in self._contacts:
            with self._lock:
                self._contacts[part], changes = decided(self._contacts[part], now_ms)
            yield from ((part, closed) for closed in changes)


def _unreported(part: Input, closed: bool) -> Contact:
    """A contact before the first reading: assumed in the normal state, so that any other position is reported."""
    return Contact(closed, closed, REST_MS if part in RESTS else 0)
