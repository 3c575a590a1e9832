"""Decides when a clip must be deleted, also if the clock is wrong (R27, R28), and which clips are deleted first if space is short.

A clip of the present boot expires by the monotonic clock alone, which cannot be set. For a clip of an earlier boot there are three
limits, and the earliest one decides: the deadline by the wall clock, the powered time since the clip began, and the number of boots
since then. Within a boot the time used is never earlier than the latest trusted time plus the powered time since then, and a
trusted time that differs by more than a day from the first one of the boot counts as unknown. The first trusted time of a boot may
correct the time of an earlier boot (decision 0048). While no time is trusted, the deadline is deferred by at most six hours of
powered time in all; the other two limits are not deferred.

An `Odometer` counts boots and powered time, including suspended time. It is saved every five minutes. A boot that ended without
saving counts five minutes more, so that switching the power off does not extend the retention.
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
"""Milliseconds, at most three centuries, so that sums with dates do not overflow."""


class Boot(Struct, frozen=True, forbid_unknown_fields=True):
    """One boot: the kernel's id, and the powered time of all boots before it."""

    id: str
    before_ms: Count


class Instant(Struct, frozen=True):
    """The present time: wall clock, whether it is trusted, boot id, and milliseconds since boot."""

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

    boots     the last 65 boots, oldest first; the last one is the present boot
    ran_ms    powered time of the present boot
    latest    the latest trusted wall time, if there was any
    at_ms     the powered time of all boots at that time
    first     the first trusted time of the present boot, if there was any
    """

    boots: Annotated[tuple[Boot, ...], Meta(max_length=BOOTS + 1)] = ()
    ran_ms: Count = 0
    latest: datetime | None = None
    at_ms: Count = 0
    first: First | None = None

    @property
    def total_ms(self) -> int:
        """Powered time of all boots."""
        return self.boots[-1].before_ms + self.ran_ms if self.boots else 0

    def advance(self, instant: Instant) -> Odometer:
        """The odometer at this instant. Clocks that went back change nothing."""
        begun = self._boot(instant.boot_id)
        moved = msgspec.structs.replace(begun, ran_ms=max(begun.ran_ms, instant.mono_ms))
        if not moved.vouches(instant):
            return moved
        if moved.first is None:
            first = First(instant.now, instant.mono_ms)
            return msgspec.structs.replace(moved, first=first, latest=instant.now, at_ms=moved.total_ms)
        return msgspec.structs.replace(moved, latest=max(instant.now, moved.least(instant.now)), at_ms=moved.total_ms)

    def vouches(self, instant: Instant) -> bool:
        """Whether a trusted time is plausible: it is the first one of the boot, or differs from it by at most a day."""
        if not instant.trusted or self.first is None:
            return instant.trusted
        expected = self.first.wall + timedelta(milliseconds=instant.mono_ms - self.first.mono_ms)
        return abs(instant.now - expected) <= LONGEST_STEP

    def _boot(self, boot_id: str) -> Odometer:
        """Begin a new boot, if the id is new. The five minutes added for it did not really pass, so they are also added to `at_ms`:
        `least` does not change."""
        if self.boots and self.boots[-1].id == boot_id:
            return self
        charge = SAVE_MS if self.boots else 0
        boots = (*self.boots[-BOOTS:], Boot(boot_id, self.total_ms + charge))
        return Odometer(boots, 0, self.latest, self.at_ms + charge)

    def least(self, otherwise: datetime) -> datetime:
        """The earliest possible wall time: the latest trusted time plus the powered time since; `otherwise` if there is none."""
        if self.latest is None:
            return otherwise
        return self.latest + timedelta(milliseconds=self.total_ms - self.at_ms)

    def boot_of(self, begin: datetime, instant: Instant) -> tuple[str, int]:
        """The boot in which a clip began, from the wall clock, and the milliseconds since that boot.

        A clip from before the present boot counts as begun at the end of the previous boot.
        """
        since_ms = instant.mono_ms - (instant.now - begin) // timedelta(milliseconds=1)
        if since_ms >= 0 or len(self.boots) < _TWO:
            return instant.boot_id, max(0, since_ms)
        return self.boots[-2].id, self.boots[-1].before_ms - self.boots[-2].before_ms

    def since(self, boot_id: str, mono_ms: int) -> tuple[int, int] | None:
        """Number of boots and powered milliseconds since an instant of a boot; None if that boot is no longer counted.

        For a boot from before this odometer began (its file was lost), the smallest possible values.
        """
        for age, boot in enumerate(reversed(self.boots)):
            if boot.id == boot_id:
                return age, max(0, self.total_ms - boot.before_ms - mono_ms)
        return None if len(self.boots) > BOOTS else (len(self.boots), self.total_ms)


class Kept(Struct, frozen=True):
    """The properties of a stored clip that decide when it is deleted.

    size      bytes
    boot_id   boot in which it began, at mono_ms milliseconds since boot
    held      end of a legal hold, if there is one
    uploaded  the centre has confirmed it
    """

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
    """Why a clip must be deleted now, or "". In the boot in which it began only the monotonic clock counts.

    A hold replaces an earlier deadline by its own end, and suspends the limit on the number of boots.
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
    """Whether a deadline has passed by the wall clock. An implausible trusted time is not used; the earliest possible time is."""
    least = odometer.least(instant.now)
    if odometer.vouches(instant):
        return max(instant.now, least) >= end
    waited = odometer.total_ms - odometer.at_ms >= UNKNOWN_MS
    return waited and (least if instant.trusted else max(instant.now, least)) >= end


def protected(kept: Iterable[Kept]) -> set[str]:
    """Ids of the help clips that are never deleted for lack of space: the first one in any ten minutes. Not all of them, because
    somebody who keeps pressing the button could otherwise fill the disk."""
    found: set[str] = set()
    last: datetime | None = None
    for one in sorted((one for one in kept if one.trigger == "help"), key=lambda one: one.begin):
        if last is None or one.begin - last >= PROTECTED_EVERY:
            found.add(one.clip)
            last = one.begin
    return found


def drop_order(kept: Iterable[Kept]) -> Iterator[Kept]:
    """The order in which clips are deleted for lack of space: uploaded, routine, events, further help clips; oldest first in each.

    Clips on hold and protected help clips are not included.
    """
    every = tuple(kept)
    safe = protected(every)
    free = (one for one in every if one.held is None and one.clip not in safe)
    yield from sorted(free, key=lambda one: (_rank(one), one.begin, one.clip))


def _rank(one: Kept) -> int:
    return 0 if one.uploaded else 3 if one.trigger == "help" else 1 if one.trigger == "routine" else 2


def read_odometer(data: bytes) -> Odometer:
    """An odometer from its file; `RecordError` if it is damaged."""
    return decode(data, Odometer, "odometer", hint="it starts again; the age of clips of earlier boots is then a lower limit")


def first_moment(clip: str) -> datetime:
    """When a clip began, from its id (UUIDv7); for clips whose manifest cannot be read. `EARLIEST` if it is not such an id."""
    with suppress(ValueError, OverflowError):
        found = datetime.fromtimestamp(int(clip[:8] + clip[9:13], 16) / 1000, UTC)
        return found if found < LATEST else EARLIEST
    return EARLIEST
