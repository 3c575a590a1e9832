"""What somebody else may cause so often in a period and no more: log lines, and entries of a journal, each signed and synced."""

from __future__ import annotations


class Limit:
    """most: in a period of so many seconds; the others are counted."""

    def __init__(self, most: int, period_s: float) -> None:
        self._most, self._period_s = most, period_s
        self._began_s, self._count, self._missed = 0.0, 0, 0

    def take(self, now_s: float) -> int | None:
        """How many were missed since the last one that was allowed; None if this one is missed too. now_s: monotonic."""
        if now_s - self._began_s >= self._period_s:
            self._began_s, self._count = now_s, 0
        if self._count >= self._most:
            self._missed += 1
            return None
        self._count += 1
        missed, self._missed = self._missed, 0
        return missed
