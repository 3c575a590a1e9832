"""Time and how far it may be trusted (R07). A port of its own, so that tests can bring another clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from privacy.trusted_time import ClockState, Facts, TimeWatch, Trust

_SYNCED = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it at each synchronisation (252 and 257); /run is of this boot."""
_RTC = Path("/sys/class/rtc/rtc0/since_epoch")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RTC_S = 60.0
BEGINNING = datetime.fromtimestamp(0, UTC)


class SystemClock:
    """The machine's clock. Its methods may be called from any thread.

    trust   what vouches for it: systemd-timesyncd's mark, a real-time clock too, or the host
    floor   before which it cannot be
    """

    def __init__(self, trust: Trust, floor: datetime = BEGINNING, *, mark: Path = _SYNCED, rtc: Path = _RTC) -> None:
        self._watch = TimeWatch(trust, floor)
        self._mark, self._rtc = mark, RealTimeClock(rtc) if trust == "rtc" else None
        self._lock = Lock()
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
        with self._lock:
            mono_s = self.mono_ms() / 1000
            return self._watch.see(Facts(mono_s, self.now(), _touched(self._mark), self._rtc.read(mono_s) if self._rtc else None))

    def trusted(self) -> bool:
        return self.state() != "unknown"

    def sync_age_s(self) -> float | None:
        """Seconds since the last synchronisation in this boot, None if there was none."""
        self.state()
        return self._watch.sync_age_s(self.mono_ms() / 1000)


class RealTimeClock:
    """The board's clock with the battery, asked once a minute: it lies behind a slow bus."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked: tuple[float, datetime | None] | None = None

    def read(self, mono_s: float) -> datetime | None:
        """None if there is none, or it stopped without a battery and has not been set."""
        if self._asked is None or mono_s - self._asked[0] > _RTC_S:
            self._asked = (mono_s, self._ask())
        asked_s, then = self._asked
        return then and then + timedelta(seconds=mono_s - asked_s)

    def _ask(self) -> datetime | None:
        try:
            return datetime.fromtimestamp(int(self._path.read_text()), UTC)
        except (OSError, ValueError):  # not fitted, or the kernel says that its time is not valid
            return None


def _touched(mark: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(mark.stat().st_mtime, UTC)
    except OSError:  # no synchronisation in this boot, or timesyncd is not what sets this clock
        return None
