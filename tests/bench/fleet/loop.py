"""One thread for all connections: epoll and timers."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable
from typing import Protocol

_TURN_S = 0.1


class Ready(Protocol):
    """What a socket is registered with."""

    def ready(self, events: int) -> None: ...


class Loop:
    """late_s: most seconds by which a timer was late since it was last set to 0."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.late_s = 0.0

    def after(self, wait_s: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + wait_s, next(self._count), work))

    def run(self, seconds: float, met: Callable[[], bool] = lambda: False) -> bool:
        """For so long, or until something is so; whether it is."""
        end = time.monotonic() + seconds
        while not (so := met()) and time.monotonic() < end:
            self._turn()
        return so

    def _turn(self) -> None:
        wait = self._timers[0][0] - time.monotonic() if self._timers else _TURN_S
        for key, events in self.selector.select(max(0.0, min(wait, _TURN_S))):
            key.data.ready(events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, _, work = heapq.heappop(self._timers)
            self.late_s = max(self.late_s, now - due)
            work()
