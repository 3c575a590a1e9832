"""Whether the time may be trusted (R07): a state machine fed with what the machine shows, and nothing else.

Three things vouch: a synchronisation in this boot, for 24 hours of monotonic time; a real-time clock that agrees; or whoever runs
the machine. Whatever vouches, the time is never earlier than the floor: the last entry of the journals, the certificate's begin.
And it moves on with the monotonic clock: the first synchronisation of a boot may be any step, a later one over 24 h makes the time
unknown, for as long as the clock stays there (decision 0048).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

ClockState = Literal["synced", "holdover", "unknown"]
Trust = Literal["timesync", "rtc", "host"]
FRESH_S = 4500.0
"""Two of the longest pauses of systemd-timesyncd (2048 s) and some: so long after a synchronisation it counts as standing."""
HOLDOVER_S = 24 * 3600.0
SLACK = timedelta(seconds=60)
"""How far a clock that nobody set may seem to drift, and two clocks may differ: the error that a manifest states for holdover."""


LONGEST_STEP = timedelta(hours=24)
"""How far the clock may be from what the first synchronisation of the boot and the monotonic clock say."""


@dataclass(frozen=True)
class Anchor:
    """The first time of a boot that somebody vouched for: seconds since boot, wall clock, and whether by a synchronisation."""

    mono_s: float
    wall: datetime
    synced: bool

    def at(self, mono_s: float) -> datetime:
        """The wall clock then, if nobody had set it since."""
        return self.wall + timedelta(seconds=mono_s - self.mono_s)

    def fits(self, mono_s: float, wall: datetime) -> bool:
        return abs(wall - self.at(mono_s)) <= LONGEST_STEP


@dataclass(frozen=True)
class Facts:
    """mono_s: seconds since boot, time asleep included; mark: when the last synchronisation was, by the wall clock of then."""

    mono_s: float
    wall: datetime
    mark: datetime | None = None
    rtc: datetime | None = None


class TimeWatch:
    """One boot as one process sees it.

    anchor   what an earlier process of this boot held on to; None at the first
    """

    def __init__(self, trust: Trust, floor: datetime, anchor: Anchor | None = None) -> None:
        self._trust, self._floor, self.anchor = trust, floor, anchor
        self._mark: datetime | None = None
        self._sync: tuple[float, datetime] | None = None
        self._seen_s = 0.0

    def see(self, facts: Facts) -> ClockState:
        self._note_mark(facts)
        self._seen_s = facts.mono_s
        state = "unknown" if facts.wall < self._floor else self._vouched(facts)
        if state != "unknown" and not self._follows(facts):
            state = "unknown"
        if state != "unknown":
            # What was written meanwhile is not far from now: the time may not go back behind it either.
            self._floor = max(self._floor, facts.wall - SLACK)
        return state

    def likely(self, mono_s: float, wall: datetime) -> datetime:
        """The wall clock, or what the monotonic clock says where it was set too far away: journals bear no false year."""
        return wall if self.anchor is None or self.anchor.fits(mono_s, wall) else self.anchor.at(mono_s)

    def _follows(self, facts: Facts) -> bool:
        """Whether the time moved on from the boot's first one; a real-time clock's gives way to the first synchronisation."""
        here = Anchor(facts.mono_s, facts.wall, self._trust == "host" or self._sync is not None)
        if self.anchor is None or (here.synced and not self.anchor.synced):
            self.anchor = here
        return self.anchor.fits(facts.mono_s, facts.wall)

    def sync_age_s(self, mono_s: float) -> float | None:
        """Since the last synchronisation of this boot, None if there was none that fits the clock."""
        return None if self._sync is None else mono_s - self._sync[0]

    def _note_mark(self, facts: Facts) -> None:
        """A new mark says when the clock was right; one that cannot have been made since we last looked says nothing.

        It could not where the clock was set meanwhile: its age is told by the same clock.
        """
        if facts.mark is None or facts.mark == self._mark:
            return
        self._mark = facts.mark
        age = facts.wall - facts.mark
        if -SLACK <= age <= timedelta(seconds=facts.mono_s - self._seen_s) + SLACK:
            self._sync = (facts.mono_s - max(0.0, age.total_seconds()), facts.mark)

    def _vouched(self, facts: Facts) -> ClockState:
        if self._trust == "host":
            return "synced"
        if self._sync is not None and self._undisturbed(facts, *self._sync):
            age = facts.mono_s - self._sync[0]
            if age <= HOLDOVER_S:
                return "synced" if age <= FRESH_S else "holdover"
        if self._trust == "rtc" and facts.rtc is not None and facts.rtc >= self._floor and abs(facts.wall - facts.rtc) <= SLACK:
            return "holdover"
        return "unknown"

    def _undisturbed(self, facts: Facts, mono_s: float, wall: datetime) -> bool:
        """Whether the clock has only run since: by hand, or by a program that is not timesyncd, it may have been set."""
        return abs(facts.wall - wall - timedelta(seconds=facts.mono_s - mono_s)) <= SLACK
