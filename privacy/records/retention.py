"""How long a clip may stay, whatever the clock says (R27, R28), and what goes first when there is no room.

A clip of this boot expires by the monotonic clock alone, which nobody can set. For a clip of an earlier boot three limits count,
and the earliest one decides: the deadline on the wall clock, the powered time since the clip began, and the number of boots since.
Within a boot the wall clock is never taken back behind the latest trusted time plus the powered time since, and a trusted time that
is more than a day away from the boot's first one counts as unknown; the first one of a boot may correct what an earlier boot
believed (decision 0048). While nobody vouches for the time the deadline waits, at most six hours of powered time in all; the other
two limits never wait.

An `Odometer` counts boots and powered time, suspended time included. It is saved every five minutes; a boot that ended
without saving is charged the whole five minutes, so that pulling the plug prolongs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from privacy.foreign import EARLIEST, LATEST, decode
from privacy.records.trusted_time import LONGEST_STEP

BOOTS = 64
_TWO = 2
UNKNOWN_MS = 6 * 3_600_000
SAVE_MS = 5 * 60_000
PROTECTED_EVERY = timedelta(minutes=10)
Reason = Literal["", "deadline", "powered", "boots"]
Count = Annotated[int, Meta(ge=0, le=10**13)]
"""Milliseconds, of three centuries at most: sums with dates stay dates."""


class Boot(Struct, frozen=True, forbid_unknown_fields=True):
    """One boot: the kernel's id, and the powered time of all boots before it."""

    id: str
    before_ms: Count


class Instant(Struct, frozen=True):
    """What the node knows of the time: wall clock, whether somebody vouches for it, and milliseconds since this boot."""

    now: datetime
    trusted: bool
    boot_id: str
    mono_ms: int


class First(Struct, frozen=True, forbid_unknown_fields=True):
    """The first trusted time of a boot, and the milliseconds since that boot."""

    wall: datetime
    mono_ms: Count


class Odometer(Struct, frozen=True, forbid_unknown_fields=True):
    """Boots and powered time of this node so far.

    boots     the last 65, oldest first; the last one is the present one
    ran_ms    powered time of the present boot
    latest    the latest trusted wall time, if there was any; at_ms: the powered time, of all boots, when it was
    first     the first trusted time of the present boot, if there was any
    """

    boots: Annotated[tuple[Boot, ...], Meta(max_length=BOOTS + 1)] = ()
    ran_ms: Count = 0
    latest: datetime | None = None
    at_ms: Count = 0
    first: First | None = None

    @property
    def total_ms(self) -> int:
        return self.boots[-1].before_ms + self.ran_ms if self.boots else 0

    def advance(self, instant: Instant) -> Odometer:
        """The odometer at this instant. A clock that is set back, and a monotonic one that would be, change nothing."""
        begun = self._boot(instant.boot_id)
        moved = msgspec.structs.replace(begun, ran_ms=max(begun.ran_ms, instant.mono_ms))
        if not moved.vouches(instant):
            return moved
        if moved.first is None:
            first = First(instant.now, instant.mono_ms)
            return msgspec.structs.replace(moved, first=first, latest=instant.now, at_ms=moved.total_ms)
        return msgspec.structs.replace(moved, latest=max(instant.now, moved.least(instant.now)), at_ms=moved.total_ms)

    def vouches(self, instant: Instant) -> bool:
        """Whether that trusted time may be believed: the boot's first one, or no more than a day away from it."""
        if not instant.trusted or self.first is None:
            return instant.trusted
        expected = self.first.wall + timedelta(milliseconds=instant.mono_ms - self.first.mono_ms)
        return abs(instant.now - expected) <= LONGEST_STEP

    def _boot(self, boot_id: str) -> Odometer:
        """Begin a boot, if it is a new one. The charge is powered time that did not pass: `least` must not run ahead by it."""
        if self.boots and self.boots[-1].id == boot_id:
            return self
        charge = SAVE_MS if self.boots else 0
        boots = (*self.boots[-BOOTS:], Boot(boot_id, self.total_ms + charge))
        return Odometer(boots, 0, self.latest, self.at_ms + charge)

    def least(self, otherwise: datetime) -> datetime:
        """The wall time that it must be at least: the latest trusted one plus the powered time since."""
        if self.latest is None:
            return otherwise
        return self.latest + timedelta(milliseconds=self.total_ms - self.at_ms)

    def boot_of(self, begin: datetime, instant: Instant) -> tuple[str, int]:
        """The boot in which a clip began, by the wall clock alone, and the milliseconds since that boot.

        One from before the present boot counts as one of the end of the boot before.
        """
        since_ms = instant.mono_ms - (instant.now - begin) // timedelta(milliseconds=1)
        if since_ms >= 0 or len(self.boots) < _TWO:
            return instant.boot_id, max(0, since_ms)
        return self.boots[-2].id, self.boots[-1].before_ms - self.boots[-2].before_ms

    def since(self, boot_id: str, mono_ms: int) -> tuple[int, int] | None:
        """Boots and powered milliseconds since an instant of a boot; None if that boot is longer ago than is counted.

        Of a boot from before this odometer began (its file was lost), the least that they can be.
        """
        for age, boot in enumerate(reversed(self.boots)):
            if boot.id == boot_id:
                return age, max(0, self.total_ms - boot.before_ms - mono_ms)
        return None if len(self.boots) > BOOTS else (len(self.boots), self.total_ms)


class Kept(Struct, frozen=True):
    """What decides how long a clip stays. size: bytes. mono_ms: since that boot. held: until when a legal hold stands."""

    clip: str
    trigger: str
    size: int
    begin: datetime
    deadline: datetime
    boot_id: str
    mono_ms: int
    held: datetime | None = None
    uploaded: bool = False


def expired(kept: Kept, odometer: Odometer, instant: Instant) -> Reason:
    """Why a clip must go now, or "". In its own boot the monotonic clock alone says when the deadline is.

    A hold puts its end in place of an earlier deadline, and stops the count of boots.
    """
    end = max(kept.deadline, kept.held) if kept.held else kept.deadline
    spent = odometer.since(kept.boot_id, kept.mono_ms)
    ran_out = spent is not None and timedelta(milliseconds=spent[1]) >= end - kept.begin
    if spent and spent[0] == 0:
        return "deadline" if ran_out else ""
    if _past(end, odometer, instant):
        return "deadline"
    if ran_out:
        return "powered"
    return "boots" if not kept.held and (spent is None or spent[0] > BOOTS) else ""


def _past(end: datetime, odometer: Odometer, instant: Instant) -> bool:
    """Whether the wall clock is past an end; a trusted time that may not be believed is no reason, what was known before is."""
    least = odometer.least(instant.now)
    if odometer.vouches(instant):
        return max(instant.now, least) >= end
    waited = odometer.total_ms - odometer.at_ms >= UNKNOWN_MS
    return waited and (least if instant.trusted else max(instant.now, least)) >= end


def protected(kept: Iterable[Kept]) -> set[str]:
    """The help clips that no want of room may take: in any ten minutes the first one, or a pressed button could fill the disk."""
    found: set[str] = set()
    last: datetime | None = None
    for one in sorted((one for one in kept if one.trigger == "help"), key=lambda one: one.begin):
        if last is None or one.begin - last >= PROTECTED_EVERY:
            found.add(one.clip)
            last = one.begin
    return found


def drop_order(kept: Iterable[Kept]) -> Iterator[Kept]:
    """What goes when there is no room, first to last: uploaded, routine, events, further help clips; oldest first in each.

    Held clips and protected help clips are not among them.
    """
    every = tuple(kept)
    safe = protected(every)
    free = (one for one in every if one.held is None and one.clip not in safe)
    yield from sorted(free, key=lambda one: (_rank(one), one.begin, one.clip))


def _rank(one: Kept) -> int:
    return 0 if one.uploaded else 3 if one.trigger == "help" else 1 if one.trigger == "routine" else 2


def read_odometer(data: bytes) -> Odometer:
    """An odometer from its file; `RecordError` if it is torn."""
    return decode(data, Odometer, "odometer", hint="it begins anew; clips of earlier boots count as at least as old")


def first_moment(clip: str) -> datetime:
    """When a clip began, from its id (UUIDv7): for one whose manifest cannot be read. `EARLIEST` for a name that is no such id."""
    with suppress(ValueError, OverflowError):
        found = datetime.fromtimestamp(int(clip[:8] + clip[9:13], 16) / 1000, UTC)
        return found if found < LATEST else EARLIEST
    return EARLIEST
