"""From which level up a service writes log lines: `info`, or another for a limited time."""

from __future__ import annotations

from privacy.records.command_table import LogLevel

_ORDER: tuple[LogLevel, ...] = ("debug", "info", "warning", "error")
USUAL: LogLevel = "info"


class LogThreshold:
    """Times are milliseconds since boot. May be used from any thread: both values are replaced together."""

    def __init__(self) -> None:
        self._set: tuple[LogLevel, int] = (USUAL, 0)

    def set(self, level: LogLevel, until_ms: int) -> None:
        self._set = (level, until_ms)

    def passes(self, level: LogLevel, now_ms: int) -> bool:
        lowest, until_ms = self._set
        return _ORDER.index(level) >= _ORDER.index(lowest if now_ms < until_ms else USUAL)
