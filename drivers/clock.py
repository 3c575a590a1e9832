"""The system clock, and whether its time may be trusted (R07). A port of its own, so that tests can use another clock."""

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
"""systemd-timesyncd updates this file's modification time at each synchronisation (versions 252 and 257). /run is empty at boot."""
_RTC = Path("/sys/class/rtc/rtc0/since_epoch")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RTC_S = 60.0
BEGINNING = datetime.fromtimestamp(0, UTC)


class _Kept(Struct, frozen=True, forbid_unknown_fields=True):
    """The first trusted time of a boot, as stored for later processes of the same boot."""

    boot_id: str
    mono_s: Annotated[float, Meta(ge=0, le=1e10)]
    wall: datetime
    synced: bool


class SystemClock:
    """The machine's clock. Its methods may be called from any thread.

    trust   the source of trust: systemd-timesyncd ("timesync"), also a real-time clock ("rtc"), or the host ("host")
    floor   the earliest time that is possible
    mark    the file that systemd-timesyncd touches
    rtc     the kernel's file of the real-time clock
    kept    file in /run that stores the boot's first trusted time for later processes; None: it is not stored
    """

    def __init__(
        self, trust: Trust, floor: datetime = BEGINNING, *, mark: Path = _SYNCED, rtc: Path = _RTC, kept: Path | None = None
    ) -> None:
        self._mark, self._rtc, self._kept = mark, RealTimeClock(rtc) if trust == "rtc" else None, kept
        self._lock = Lock()
        self.boot_id = _BOOT_ID.read_text().strip()
        self._watch = TimeWatch(trust, floor, self._read_anchor())

    def now(self) -> datetime:
        """UTC, aware. If the clock was set by more than a day since the first trusted time of this boot, the time is computed from
        the monotonic clock instead."""
        return self._watch.likely(self.mono_ms() / 1000, datetime.now(UTC))

    def mono_ms(self) -> int:
        """Milliseconds since boot, monotonic; suspended time counts."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def boot_ms(self, mono_ns: int) -> int:
        """Milliseconds since boot for a reading of CLOCK_MONOTONIC, which stops during suspend."""
        return self.mono_ms() - (time.monotonic_ns() - mono_ns) // 1_000_000

    def state(self) -> ClockState:
        """Whether the time is synced, in holdover or unknown. Reads the clocks again at each call."""
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
        except (OSError, RecordError):  # the first process of this boot, or a damaged file: the next trusted time becomes the first
            return None
        return Anchor(found.mono_s, found.wall, found.synced) if found.boot_id == self.boot_id else None

    def _keep_anchor(self) -> None:
        anchor = self._watch.anchor
        if self._kept and anchor:
            with suppress(OSError):  # disk full or read-only: this process continues with the time in memory
                place(self._kept, canonical(_Kept(self.boot_id, anchor.mono_s, anchor.wall, anchor.synced)))


class RealTimeClock:
    """The board's battery-backed clock. It is read once a minute at most, because its bus is slow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked: tuple[float, datetime | None] | None = None

    def read(self, mono_s: float) -> datetime | None:
        """UTC; None if there is no such clock, or if it lost power and was not set since. mono_s: seconds since boot."""
        if self._asked is None or mono_s - self._asked[0] > _RTC_S:
            self._asked = (mono_s, self._ask())
        asked_s, then = self._asked
        return then and then + timedelta(seconds=mono_s - asked_s)

    def _ask(self) -> datetime | None:
        try:
            return datetime.fromtimestamp(int(self._path.read_text()), UTC)
        except (OSError, ValueError, OverflowError):  # not fitted, or the kernel reports its time as invalid
            return None


def _touched(mark: Path) -> datetime | None:
    """Modification time of the mark, UTC."""
    try:
        return datetime.fromtimestamp(mark.stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):  # no synchronisation in this boot, or no valid date
        return None
