"""Finds clips by stop and time in plain words: "stop 12, Friday 22:14". Pure, but for `near`, which reads the database."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from msgspec import Struct
from sqlalchemy import Connection

from central.fleet.collect.store import reading
from central.fleet.console.node_facts import ClipRow, clip_row
from central.fleet.console.snapshot import Stop
from privacy.records.zone import stockholm

NEAR_MS = 2 * 3_600_000
"""A clip may begin so long before or after the time that was named."""
MOST_STOPS = 50
_MOST = 100
LONGEST = 200
"""Characters of a question that are read."""
_WEEKDAYS = (
    ("monday", "mon", "måndag", "mån"),
    ("tuesday", "tue", "tisdag", "tis"),
    ("wednesday", "wed", "onsdag", "ons"),
    ("thursday", "thu", "torsdag", "tors", "tor"),
    ("friday", "fri", "fredag", "fre"),
    ("saturday", "sat", "lördag", "lör"),
    ("sunday", "sun", "söndag", "sön"),
)
_AGO = {"today": 0, "idag": 0, "yesterday": 1, "igår": 1}
_CLOCK = re.compile(r"(?<![\d.:-])([01]?\d|2[0-3])[:.]([0-5]\d)(?:[:.][0-5]\d)?(?![\d.:-])")
_DATE = re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")
_FILLERS = frozenset({"stop", "hållplats", "hållplatsen", "at", "on", "kl", "klockan", "den", "i", "in", "the", "last", "förra"})


class Question(Struct, frozen=True):
    """words: that the stop's name, area or node must have; at_ms: the time meant, None if none was named."""

    words: tuple[str, ...]
    at_ms: int | None


class Found(Struct, frozen=True):
    """A clip and the stop that it is from."""

    stop: Stop
    row: ClipRow


def read_question(text: str, now: datetime) -> Question:
    """Stop and time of a question in Swedish or English. A weekday is the last one that is not in the future; without a day it is
    today, or yesterday if that time is still to come."""
    rest = unicodedata.normalize("NFC", text[:LONGEST]).casefold()
    here = now.astimezone(stockholm())
    day, rest = _day(rest)
    clock, rest = _take(_CLOCK, rest)
    words = _words(rest)
    for word in words:
        if day is None and (ago := _days_ago(word, here.date())) is not None:
            day = here.date() - timedelta(days=ago)
    kept = tuple(word for word in words if word not in _FILLERS and _days_ago(word, here.date()) is None)
    if clock is None:
        return Question(kept, None)
    at = datetime.combine(day or here.date(), time(int(clock[1]), int(clock[2])), stockholm())
    if at > here and (day is None or _weekday_named(words, here.date())):
        at -= timedelta(days=1 if day is None else 7)
    return Question(kept, int(at.astimezone(UTC).timestamp() * 1000))


def matching(stops: Iterable[Stop], words: tuple[str, ...]) -> list[Stop]:
    """Stops with all these words in their name, area or node; a number is a word: 12 is not found in 112."""
    if not words:
        return []
    return [stop for stop in stops if set(words) <= set(_words(f"{stop.stop} {stop.area} {stop.node}"))][:MOST_STOPS]


def near(connection: Connection, stops: list[Stop], at_ms: int, clip_hours: int | None) -> list[Found]:
    """Clips of these stops that began near a time, the nearest first."""
    found = [
        Found(stop, clip_row(clip, clip_hours))
        for stop in stops
        for clip in reading.clips_between(connection, stop.node, at_ms - NEAR_MS, at_ms + NEAR_MS + 1)
    ]
    return sorted(found, key=lambda one: (abs(one.row.clip.began - at_ms), one.row.clip.clip))[:_MOST]


def _words(text: str) -> list[str]:
    """Words and numbers, apart from each other: "stop-12" has two."""
    return re.findall(r"[^\W\d_]+|\d+", text.casefold())


def _take(pattern: re.Pattern[str], text: str) -> tuple[re.Match[str] | None, str]:
    """The first match, and the text without it."""
    found = pattern.search(text)
    return found, text[: found.start()] + " " + text[found.end() :] if found else text


def _day(text: str) -> tuple[date | None, str]:
    found, rest = _take(_DATE, text)
    if found is None:
        return None, text
    try:
        return date(int(found[1]), int(found[2]), int(found[3])), rest
    except ValueError:
        return None, text


def _days_ago(word: str, today: date) -> int | None:
    """Days since the day that a word names, None for any other word."""
    for number, names in enumerate(_WEEKDAYS):
        if word in names:
            return (today.weekday() - number) % 7
    return _AGO.get(word)


def _weekday_named(words: list[str], today: date) -> bool:
    return any(word not in _AGO and _days_ago(word, today) is not None for word in words)
