"""Limits how often input of others may cause log lines and journal entries, each of which is signed and synced."""

from __future__ import annotations


class Limit:
    """most: allowed in each period of `period_s` seconds; the others are counted."""

    def __init__(self, most: int, period_s: float) -> None:
        self._most, self._period_s = most, period_s
        self._began_s, self._count, self._missed = 0.0, 0, 0

    def take(self, now_s: float) -> int | None:
        """How many were suppressed since the last allowed one; None if this one is suppressed too. now_s: monotonic."""
        if now_s - self._began_s >= self._period_s:
            self._began_s, self._count = now_s, 0
        if self._count >= self._most:
            self._missed += 1
            return None
        self._count += 1
        missed, self._missed = self._missed, 0
        return missed
