"""The ingest's entries in the centre's journal: deletions, holds, refusals, faults, and what was carried in by hand (R32, R43).

Not every object that comes: its receipt, signed and kept beside it, says that already.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from drivers import stderr
from privacy.foreign import printable
from privacy.records.journal import Fact, Journal

_HOUR = timedelta(hours=1)
_MOST = 1000
_LONGEST = 400


class Ledger:
    """Used from several threads. An entry is on the disk when a call returns."""

    def __init__(self, journal: Journal, now: Callable[[], datetime]) -> None:
        self._journal, self._now, self._lock = journal, now, Lock()
        self._noted: dict[str, datetime] = {}

    def note(self, kind: str, **facts: Fact) -> bytes:
        """The signed line. Each is also a line on stderr, for who looks at the process.

        A text is cut after `_LONGEST` characters: what a node says must not make the line longer than whoever verifies it reads.
        """
        facts = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in facts.items()}
        with self._lock:
            line = self._journal.append(kind, **facts)
        stderr.line(f"{kind}: " + " ".join(f"{name}={printable(value)}" for name, value in facts.items()))
        return line

    def note_hourly(self, about: str, kind: str, **facts: Fact) -> None:
        """At most one entry an hour about the same: a node that tries again each minute fills no disk."""
        now = self._now()
        with self._lock:
            last = self._noted.get(about)
            if last and last <= now < last + _HOUR:
                return
            if len(self._noted) >= _MOST:
                self._noted.clear()
            self._noted[about] = now
        self.note(kind, **facts)
