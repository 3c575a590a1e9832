"""What is uploaded, in which order, when and how fast. Pure: no file, no clock, no network.

Help first, then reports, diagnoses and exports, the journal, events, routine; among equals the oldest first, as it reaches
its deadline first and a full spool would drop it first.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

What = Literal["events", "help", "all", "nothing"]
DAY_S = 86_400.0
_LONGEST_PAUSE_S = 60.0


class Rank(IntEnum):
    """Priority: the lower, the sooner."""

    HELP = 0
    HANDED_IN = 1
    EXPORT = 2
    JOURNAL = 3
    EVENT = 4
    ROUTINE = 5

    @property
    def urgent(self) -> bool:
        """Whether a person waits for it: neither hours nor budget delay it."""
        return self <= Rank.HANDED_IN


def rank_of_clip(trigger: str, exported: bool, what: What) -> Rank | None:
    """None: it stays on the node until it is asked for or expires. exported: whether an order or a command asks for it."""
    if trigger == "help" and (exported or what != "nothing"):
        return Rank.HELP
    if exported:
        return Rank.EXPORT
    if trigger == "routine":
        return Rank.ROUTINE if what == "all" else None
    return Rank.EVENT if what in ("all", "events") else None


class Rate:
    """The bandwidth limit: at most kbit_s on average, without bursts; 0: no limit."""

    def __init__(self, kbit_s: int) -> None:
        self._bytes_s = kbit_s * 125
        self._free_s = 0.0

    def pause_s(self, size: int, now_s: float) -> float:
        """Seconds to wait before the next `size` bytes are sent. now_s: monotonic."""
        if not self._bytes_s:
            return 0.0
        begin = max(now_s, self._free_s)
        self._free_s = begin + size / self._bytes_s
        return begin - now_s


class Reading(Struct, frozen=True):
    """A reading of the clocks: seconds since 1970, None if not trusted; milliseconds since boot, and the boot's id."""

    wall_s: float | None
    boot_id: str
    mono_ms: int


class Spent(Struct, frozen=True, forbid_unknown_fields=True):
    """The bytes that count against the daily budget, as of a time. wall_s: the latest trusted time ever seen."""

    bytes: Annotated[float, Meta(ge=0, le=1e15)]
    wall_s: Annotated[float, Meta(ge=0, le=1e11)]
    boot_id: str
    mono_ms: int


def settle(spent: Spent, now: Reading, per_day: int) -> Spent:
    """The bytes that still count now: a day's budget is restored evenly over a day.

    Within one boot only the monotonic clock counts, so that a step of the wall clock has no effect. Over a reboot it is the time
    by which a trusted clock exceeds the latest time ever seen: setting it back and forth has no effect either.
    """
    if now.boot_id == spent.boot_id:
        passed_s = (now.mono_ms - spent.mono_ms) / 1000
    else:
        passed_s = 0.0 if now.wall_s is None else now.wall_s - spent.wall_s
    left = spent.bytes - per_day * max(0.0, passed_s) / DAY_S
    return Spent(max(0.0, left), max(spent.wall_s, now.wall_s or 0.0), now.boot_id, now.mono_ms)


def wait_s(spent: Spent, size: int, per_day: int) -> float:
    """Seconds until `size` bytes may be spent; more than the whole budget waits until all of it is available."""
    return max(0.0, spent.bytes - max(0, per_day - size)) / per_day * DAY_S


def charge(spent: Spent, size: int, per_day: int, *, urgent: bool) -> Spent:
    """The count with `size` bytes more. Urgent ones use the budget, but leave no debt for later days."""
    total = max(0.0, spent.bytes + size)
    if urgent:
        total = max(spent.bytes, min(total, float(per_day)))
    return Spent(total, spent.wall_s, spent.boot_id, spent.mono_ms)


def back_off_s(failures: int, chance: float, longest_s: float = _LONGEST_PAUSE_S) -> float:
    """Seconds to wait: doubled after each failure, with jitter. chance: 0..1, random, new each time."""
    return float(min(longest_s, 2.0 ** min(failures, 16)) * (0.5 + chance / 2))
