"""What is uploaded, in which order, when and how fast. Pure: no file, no clock, no network.

Help first, then what somebody handed in or ordered, the journal, events, routine; among equals the oldest first, for it is
the next to reach its deadline and the next that a full spool would drop.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

What = Literal["events", "help", "all", "nothing"]
DAY_S = 86_400.0
_LONGEST_PAUSE_S = 60.0


class Rank(IntEnum):
    """The lower, the sooner."""

    HELP = 0
    HANDED_IN = 1
    EXPORT = 2
    JOURNAL = 3
    EVENT = 4
    ROUTINE = 5

    @property
    def urgent(self) -> bool:
        """Somebody waits for it: neither hours nor budget hold it up."""
        return self <= Rank.HANDED_IN


def rank_of_clip(trigger: str, exported: bool, what: What) -> Rank | None:
    """None: it stays on the node until it is asked for or expires. exported: an order to export it lies beside it."""
    if trigger == "help" and (exported or what != "nothing"):
        return Rank.HELP
    if exported:
        return Rank.EXPORT
    if trigger == "routine":
        return Rank.ROUTINE if what == "all" else None
    return Rank.EVENT if what in ("all", "events") else None


class Rate:
    """The bandwidth limit: at most kbit_s on average, no burst; 0: none."""

    def __init__(self, kbit_s: int) -> None:
        self._bytes_s = kbit_s * 125
        self._free_s = 0.0

    def pause_s(self, size: int, now_s: float) -> float:
        """How long to wait before the next `size` bytes leave. now_s: monotonic."""
        if not self._bytes_s:
            return 0.0
        begin = max(now_s, self._free_s)
        self._free_s = begin + size / self._bytes_s
        return begin - now_s


class Reading(Struct, frozen=True):
    """What the clocks say: seconds since 1970 if they can be trusted, milliseconds since the boot that is named."""

    wall_s: float | None
    boot_id: str
    mono_ms: int


class Spent(Struct, frozen=True, forbid_unknown_fields=True):
    """How many bytes still count against the day's budget, and when that was so. wall_s: the latest trusted time ever seen."""

    bytes: Annotated[float, Meta(ge=0, le=1e15)]
    wall_s: Annotated[float, Meta(ge=0, le=1e11)]
    boot_id: str
    mono_ms: int


def settle(spent: Spent, now: Reading, per_day: int) -> Spent:
    """What still counts now: a day's budget wears off in a day, evenly.

    Within one boot only the monotonic clock counts, so that no step of the wall clock gives anything. Over a boot it is the
    time by which a trusted clock passed the latest time ever seen: setting it back and forth gives nothing either.
    """
    if now.boot_id == spent.boot_id:
        passed_s = (now.mono_ms - spent.mono_ms) / 1000
    else:
        passed_s = 0.0 if now.wall_s is None else now.wall_s - spent.wall_s
    left = spent.bytes - per_day * max(0.0, passed_s) / DAY_S
    return Spent(max(0.0, left), max(spent.wall_s, now.wall_s or 0.0), now.boot_id, now.mono_ms)


def wait_s(spent: Spent, size: int, per_day: int) -> float:
    """How long until `size` bytes may be spent; what is larger than the whole budget waits until all of it is there."""
    return max(0.0, spent.bytes - max(0, per_day - size)) / per_day * DAY_S


def charge(spent: Spent, size: int, per_day: int, *, urgent: bool) -> Spent:
    """The same with `size` bytes more. Urgent ones use up the budget, but leave no debt for the days after."""
    total = max(0.0, spent.bytes + size)
    if urgent:
        total = max(spent.bytes, min(total, float(per_day)))
    return Spent(total, spent.wall_s, spent.boot_id, spent.mono_ms)


def back_off_s(failures: int, chance: float, longest_s: float = _LONGEST_PAUSE_S) -> float:
    """After each failure twice as long, never in step with others. chance: 0..1, drawn anew each time."""
    return float(min(longest_s, 2.0 ** min(failures, 16)) * (0.5 + chance / 2))
