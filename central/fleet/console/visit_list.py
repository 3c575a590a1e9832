"""The list of visits for the pages, which many readers share: it is inferred anew every few seconds at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from sqlalchemy import Engine

from central.fleet.console.snapshot import now_ms
from central.fleet.visits.listing import visits
from central.fleet.visits.visit import Visit

FRESH_S = 5.0
"""A cause shows over minutes; a call for help is not in this list."""


class VisitList:
    """reads: an engine that is not written with. May be used from several threads."""

    def __init__(self, reads: Engine, clock: Callable[[], int] = now_ms) -> None:
        self._reads, self._clock, self._lock = reads, clock, Lock()
        self._last: tuple[Visit, ...] | None = None
        self._read_s = 0.0

    def read(self) -> tuple[Visit, ...]:
        """The most urgent first."""
        with self._lock:
            if self._last is None or time.monotonic() - self._read_s > FRESH_S:
                with self._reads.begin() as connection:
                    self._last = visits(connection, self._clock())
                self._read_s = time.monotonic()
            return self._last
