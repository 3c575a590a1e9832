"""Decides whether the time may be trusted (R07): a state machine whose only input is a `ClockReading`.

There are three sources of trust: a synchronisation in this boot, for 24 hours of monotonic time; a real-time clock that agrees; or
the host. In any case the time must not be earlier than the floor: the last entry of the journals and the begin of the certificate.
It must also advance with the monotonic clock: the first synchronisation of a boot may set any time, but a later step of more than
24 h makes the time unknown for as long as the clock stays there (decision 0048).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

ClockState = Literal["synced", "holdover", "unknown"]
Trust = Literal["timesync", "rtc", "host"]
FRESH_S = 4500.0
"""The state is "synced" so long after a synchronisation: twice systemd-timesyncd's longest interval (2048 s), with a margin."""
HOLDOVER_S = 24 * 3600.0
"""The state is "holdover" so long after a synchronisation."""
SLACK = timedelta(seconds=60)
"""Drift that is accepted for a clock that was not set, and the accepted difference of two clocks. A manifest states it as the error
of the time in holdover."""


LONGEST_STEP = timedelta(hours=24)
"""How far the clock may differ from the first synchronisation of the boot plus monotonic time."""


@dataclass(frozen=True)
class Anchor:
    """The first trusted time of a boot.

    mono_s   seconds since boot
    wall     wall clock
    synced   the source is a synchronisation or the host, not a real-time clock
    """

    mono_s: float
    wall: datetime
    synced: bool

    def at(self, mono_s: float) -> datetime:
        """The wall clock at that time since boot, if it was not set since the anchor."""
        return self.wall + timedelta(seconds=mono_s - self.mono_s)

    def fits(self, mono_s: float, wall: datetime) -> bool:
        return abs(wall - self.at(mono_s)) <= LONGEST_STEP


@dataclass(frozen=True)
class ClockReading:
    """One reading of all clocks.

    mono_s   seconds since boot, including suspended time
    wall     wall clock
    mark     wall clock at the last synchronisation; None: none in this boot
    rtc      real-time clock; None: there is none, or it is not used
    """

    mono_s: float
    wall: datetime
    mark: datetime | None = None
    rtc: datetime | None = None


class TimeWatch:
    """The state of trust of one boot, in one process.

    trust    the configured source of trust
    floor    the earliest time that is possible
    anchor   the anchor that an earlier process of this boot stored; None: there is none yet
    """

    def __init__(self, trust: Trust, floor: datetime, anchor: Anchor | None = None) -> None:
        self._trust, self._floor, self.anchor = trust, floor, anchor
        self._mark: datetime | None = None
        self._sync: tuple[float, datetime] | None = None
        self._seen_s = 0.0

    def see(self, reading: ClockReading) -> ClockState:
        """Take a reading; returns whether the time is synced, in holdover or unknown."""
        self._note_mark(reading)
        self._seen_s = reading.mono_s
        state = "unknown" if reading.wall < self._floor else self._vouched(reading)
        if state != "unknown" and not self._follows(reading):
            state = "unknown"
        if state != "unknown":
            # Records were written with this time, so the time must not go back behind it.
            self._floor = max(self._floor, reading.wall - SLACK)
        return state

    def likely(self, mono_s: float, wall: datetime) -> datetime:
        """The wall clock; if it was set too far away from the anchor, the time computed from the monotonic clock, so that journals
        do not contain a wrong year."""
        return wall if self.anchor is None or self.anchor.fits(mono_s, wall) else self.anchor.at(mono_s)

    def _follows(self, reading: ClockReading) -> bool:
        """Whether the time has advanced with the monotonic clock since the anchor. Sets the anchor if there is none, or if it is
        from a real-time clock and this is the first synchronisation."""
        here = Anchor(reading.mono_s, reading.wall, self._trust == "host" or self._sync is not None)
        if self.anchor is None or (here.synced and not self.anchor.synced):
            self.anchor = here
        return self.anchor.fits(reading.mono_s, reading.wall)

    def sync_age_s(self, mono_s: float) -> float | None:
        """Seconds since the last synchronisation of this boot; None if there was no plausible one."""
        return None if self._sync is None else mono_s - self._sync[0]

    def _note_mark(self, reading: ClockReading) -> None:
        """Record a new synchronisation mark. A mark whose age does not fit the time since the last reading is not used: the clock
        was set meanwhile, so the age, which is computed with that clock, is wrong.
        """
        if reading.mark is None or reading.mark == self._mark:
            return
        self._mark = reading.mark
        age = reading.wall - reading.mark
        if -SLACK <= age <= timedelta(seconds=reading.mono_s - self._seen_s) + SLACK:
            self._sync = (reading.mono_s - max(0.0, age.total_seconds()), reading.mark)

    def _vouched(self, reading: ClockReading) -> ClockState:
        if self._trust == "host":
            return "synced"
        if self._sync is not None and self._undisturbed(reading, *self._sync):
            age = reading.mono_s - self._sync[0]
            if age <= HOLDOVER_S:
                return "synced" if age <= FRESH_S else "holdover"
        if (
            self._trust == "rtc"
            and reading.rtc is not None
            and reading.rtc >= self._floor
            and abs(reading.wall - reading.rtc) <= SLACK
        ):
            return "holdover"
        return "unknown"

    def _undisturbed(self, reading: ClockReading, mono_s: float, wall: datetime) -> bool:
        """Whether the clock was not set since then. A person, or a program other than timesyncd, may have set it."""
        return abs(reading.wall - wall - timedelta(seconds=reading.mono_s - mono_s)) <= SLACK
