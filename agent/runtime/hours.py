"""Hours of the day by local time, as in the settings. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from privacy.errors import ZoneError
from privacy.records.basis import Hours
from privacy.records.zone import stockholm


def in_hours(hours: Sequence[Hours], now: datetime) -> bool:
    """Whether `now` (aware) is within the hours. No hours: always.

    By the local clock, trusted or not: a wrong one shifts the hours, but does not shorten them. Without time-zone data the result
    is always True.
    """
    try:
        local = now.astimezone(stockholm())
    except ZoneError:
        return True
    clock, today, yesterday = f"{local:%H:%M}", local.isoweekday(), (local - timedelta(days=1)).isoweekday()
    return not hours or any(_covers(one, clock, today, yesterday) for one in hours)


def _covers(hours: Hours, clock: str, today: int, yesterday: int) -> bool:
    if hours.begin < hours.end:
        return today in hours.days and hours.begin <= clock < hours.end
    return (today in hours.days and clock >= hours.begin) or (yesterday in hours.days and clock < hours.end)
