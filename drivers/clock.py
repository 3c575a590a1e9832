"""Time and how far it may be trusted (R07). A port of its own, so that tests can bring another clock."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Annotated

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.files import place, read
from privacy.foreign import decode
from privacy.records.jws import canonical
from privacy.records.trusted_time import Anchor, ClockReading, ClockState, TimeWatch, Trust

_SYNCED = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it at each synchronisation (252 and 257); /run is of this boot."""
_RTC = Path("/sys/class/rtc/rtc0/since_epoch")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RTC_S = 60.0
BEGINNING = datetime.fromtimestamp(0, UTC)


class _Kept(Struct, frozen=True, forbid_unknown_fields=True):
    """The anchor of a boot, for the next process of the same boot."""

    boot_id: str
    mono_s: Annotated[float, Meta(ge=0, le=1e10)]
    wall: datetime
    synced: bool


class SystemClock:
    """The machine's clock. Its methods may be called from any thread.

    trust   what vouches for it: systemd-timesyncd's mark, a real-time clock too, or the host
    floor   before which it cannot be
    kept    where the boot's first time is kept for the next process, in /run; None: this process alone knows it
    """

    def __init__(
        self, trust: Trust, floor: datetime = BEGINNING, *, mark: Path = _SYNCED, rtc: Path = _RTC, kept: Path | None = None
    ) -> None:
        self._mark, self._rtc, self._kept = mark, RealTimeClock(rtc) if trust == "rtc" else None, kept
        self._lock = Lock()
        self.boot_id = _BOOT_ID.read_text().strip()
        self._watch = TimeWatch(trust, floor, self._read_anchor())

    def now(self) -> datetime:
        """UTC, aware; where the clock was set by more than a day since the boot's first time, what the monotonic clock says."""
        return self._watch.likely(self.mono_ms() / 1000, datetime.now(UTC))

    def mono_ms(self) -> int:
        """Milliseconds since boot, never set back; time asleep counts."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def boot_ms(self, mono_ns: int) -> int:
        """The same for a reading of the monotonic clock, which stands still in sleep."""
        return self.mono_ms() - (time.monotonic_ns() - mono_ns) // 1_000_000

    def state(self) -> ClockState:
        with self._lock:
            mono_s, before = self.mono_ms() / 1000, self._watch.anchor
            rtc = self._rtc.read(mono_s) if self._rtc else None
            state = self._watch.see(ClockReading(mono_s, datetime.now(UTC), _touched(self._mark), rtc))
            if self._watch.anchor != before:
                self._keep_anchor()
            return state

    def trusted(self) -> bool:
        return self.state() != "unknown"

    def sync_age_s(self) -> float | None:
        """Seconds since the last synchronisation in this boot, None if there was none."""
        self.state()
        return self._watch.sync_age_s(self.mono_ms() / 1000)

    def _read_anchor(self) -> Anchor | None:
        if self._kept is None:
            return None
        try:
            found = decode(read(self._kept, "first time"), _Kept, "first time")
        except (OSError, RecordError):  # the first process of this boot, or a file that says nothing: the next time is the first
            return None
        return Anchor(found.mono_s, found.wall, found.synced) if found.boot_id == self.boot_id else None

    def _keep_anchor(self) -> None:
        anchor = self._watch.anchor
        if self._kept and anchor:
            with suppress(OSError):  # full or read-only: this process goes on with what it knows
                place(self._kept, canonical(_Kept(self.boot_id, anchor.mono_s, anchor.wall, anchor.synced)))


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
        except (OSError, ValueError, OverflowError):  # not fitted, or the kernel says that its time is not valid
            return None


def _touched(mark: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(mark.stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):  # no synchronisation in this boot, timesyncd does not set this clock, or no date
        return None
