"""The log of collector, console and desk: a fault when it begins and when it is over, and of what others cause only so many lines
a minute."""

from __future__ import annotations

import time
from threading import Lock

from drivers import stderr

_MOST, _PERIOD_S = 10, 60.0
_AGAIN_S = 300.0


class Reporter:
    """May be used from several threads. name: of the program, at the begin of each line."""

    def __init__(self, name: str = "collect") -> None:
        self._name = name
        self._lock = Lock()
        self._troubles: dict[str, float] = {}
        self._began_s, self._count, self._missed = 0.0, 0, 0

    def say(self, text: str) -> None:
        stderr.line(f"{self._name}: {text}")

    def trouble(self, what: str, text: str) -> None:
        """A fault of something that is needed; told at its begin, and again every five minutes."""
        now_s = time.monotonic()
        with self._lock:
            told_s = self._troubles.get(what)
            if told_s is not None and now_s - told_s < _AGAIN_S:
                return
            self._troubles[what] = now_s
        self.say(f"{what}: {text}")

    def well(self, what: str) -> None:
        """It works; told if it did not before."""
        with self._lock:
            if self._troubles.pop(what, None) is None:
                return
        self.say(f"{what}: works again")

    def foreign(self, text: str) -> None:
        """Something that a node or the broker caused: ten lines a minute, the others are counted."""
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._began_s >= _PERIOD_S:
                self._began_s, self._count = now_s, 0
            self._count += 1
            if self._count > _MOST:
                self._missed += 1
                return
            missed, self._missed = self._missed, 0
        self.say(text + (f" ({missed} lines before this one were left out)" if missed else ""))
