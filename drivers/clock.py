"""Time and how far it may be trusted (R07). A port of its own, so that tests can bring another clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

ClockState = Literal["synced", "holdover", "unknown"]
_SYNCED = Path("/run/systemd/timesync/synchronized")
_RTC = Path("/dev/rtc0")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """The machine's clock. trust: what vouches for it: systemd-timesyncd's mark, a real-time clock, or the host."""

    def __init__(self, trust: Literal["timesync", "rtc", "host"]) -> None:
        self._trust = trust
        self.boot_id = _BOOT_ID.read_text().strip()

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC)

    def mono_ms(self) -> int:
        """Milliseconds since boot, never set back; time asleep counts."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def boot_ms(self, mono_ns: int) -> int:
        """The same for a reading of the monotonic clock, which stands still in sleep."""
        return self.mono_ms() - (time.monotonic_ns() - mono_ns) // 1_000_000

    def state(self) -> ClockState:
        if self._trust == "host" or _SYNCED.exists():
            return "synced"
        return "holdover" if self._trust == "rtc" and _RTC.exists() else "unknown"

    def trusted(self) -> bool:
        return self.state() != "unknown"
