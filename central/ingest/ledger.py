"""The ingest's entries in the centre's journal: deletions, holds, refusals, faults, and objects imported by hand (R32, R43).

Uploads have no entry: the signed receipt, kept with the object, records them.
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
    """Writes entries into the centre's journal. Used from several threads; when a call returns, the entry is on the disk."""

    def __init__(self, journal: Journal, now: Callable[[], datetime]) -> None:
        self._journal, self._now, self._lock = journal, now, Lock()
        self._noted: dict[str, datetime] = {}

    def note(self, kind: str, **facts: Fact) -> bytes:
        """Write one entry, also to stderr; returns the signed line.

        Texts are cut after `_LONGEST` characters: text from a node must not make the line longer than verifiers read.
        """
        facts = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in facts.items()}
        with self._lock:
            line = self._journal.append(kind, **facts)
        stderr.line(f"{kind}: " + " ".join(f"{name}={printable(value)}" for name, value in facts.items()))
        return line

    def note_hourly(self, about: str, kind: str, **facts: Fact) -> None:
        """At most one entry an hour with the same `about`: a node that tries again each minute must not fill the disk."""
        now = self._now()
        with self._lock:
            last = self._noted.get(about)
            if last and last <= now < last + _HOUR:
                return
            if len(self._noted) >= _MOST:
                self._noted.clear()
            self._noted[about] = now
        self.note(kind, **facts)
