"""The Monday page: what happened since a time, and who needs a visit; as text, or the visits as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Select, and_, func, select

from central.fleet.collect.store.tables import alarms, clips, gaps, presses
from central.fleet.console.areas import STATES
from central.fleet.console.snapshot import Snapshot, now_ms
from central.fleet.console.words import Speaker
from central.fleet.visits.listing import visits
from central.fleet.visits.visit import Visit

_MOST_NAMED = 10
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins with one of these is a formula for a spreadsheet."""


class Digest(Struct, frozen=True):
    """calls: pressed, taken, unanswered; median_ms: from press to taken, None without one; alarms, clips: by name and stage.

    often: nodes with most alarms that began in this time, and how many; missing: messages that never came, for no known reason
    """

    since_ms: int
    states: tuple[tuple[str, int], ...]
    calls: tuple[int, int, int]
    median_ms: int | None
    alarms: tuple[tuple[str, int], ...]
    often: tuple[tuple[str, int], ...]
    clips: tuple[tuple[str, int], ...]
    missing: int
    visits: tuple[Visit, ...]


def read_digest(connection: Connection, snapshot: Snapshot, since_ms: int) -> Digest:
    found = select(presses.c.pressed, presses.c.taken, presses.c.unanswered).where(presses.c.pressed >= since_ms)
    rows = connection.execute(found).all()
    waits = sorted(taken - pressed for pressed, taken, _ in rows if taken is not None)
    number = func.count().label("number")
    since = and_(alarms.c.raised >= since_ms, alarms.c.name != "help")
    named = select(alarms.c.name, number).where(since).group_by(alarms.c.name).order_by(number.desc(), alarms.c.name)
    often = select(alarms.c.node, number).where(since).group_by(alarms.c.node).order_by(number.desc(), alarms.c.node)
    stages = select(clips.c.stage, number).where(clips.c.began >= since_ms).group_by(clips.c.stage).order_by(clips.c.stage)
    unknown = select(func.sum(gaps.c.last - gaps.c.first + 1)).where(and_(gaps.c.found >= since_ms, gaps.c.cause == "missing"))
    counts = Counter(stop.state for stop in snapshot.stops.values())
    return Digest(
        since_ms,
        tuple((state, counts[state]) for state in STATES if counts[state]),
        (len(rows), len(waits), sum(1 for _, taken, unanswered in rows if unanswered is not None and taken is None)),
        waits[len(waits) // 2] if waits else None,
        _counted(connection, named),
        _counted(connection, often.limit(_MOST_NAMED)),
        _counted(connection, stages),
        int(connection.execute(unknown).scalar() or 0),
        visits(connection, now_ms()),
    )


def _counted(connection: Connection, statement: Select[Any]) -> tuple[tuple[str, int], ...]:
    return tuple((str(row[0]), int(row[1])) for row in connection.execute(statement))


def as_text(digest: Digest, speaker: Speaker, names: dict[str, str]) -> list[str]:
    """Lines. names: of the stops by node."""
    t, (pressed, taken, unanswered) = speaker.t, digest.calls
    median = f", {t('digest_median')} {digest.median_ms / 1000:.0f} s" if digest.median_ms is not None else ""
    lines = [
        f"{t('since')} {speaker.when(digest.since_ms)}",
        f"{t('state')}: " + ", ".join(f"{number} {speaker.say('state', state).lower()}" for state, number in digest.states),
        f"{t('calls')}: {pressed}; {t('help_taken').lower()} {taken}{median}; {t('help_unanswered').lower()} {unanswered}",
        f"{t('clips_of')}: " + (", ".join(f"{number} {speaker.say('stage', stage)}" for stage, number in digest.clips) or "0"),
        f"{t('missing')}: {digest.missing}",
        f"{t('alarms')}:" + ("" if digest.alarms else " 0"),
        *[f"  {number:5} {speaker.alarm(name)}" for name, number in digest.alarms],
    ]
    if digest.often:
        lines += [f"{t('digest_often')}:", *[f"  {number:5} {names.get(node) or node}" for node, number in digest.often]]
    lines += ["", f"{t('who_visits')}: {len(digest.visits)}"]
    for visit in digest.visits:
        begin = f"{t('since').lower()} {speaker.when(visit.since_ms)}"
        lines.append(f"  {visit.stop or visit.node} ({visit.area or t('no_area')}): {why(visit, speaker)}")
        lines.append(f"    {t('bring')}: {to_bring(visit, speaker) or t('bring_nothing')}; {begin}")
    return lines


def as_csv(digest: Digest, speaker: Speaker) -> str:
    """The visits, with a heading. A text that a spreadsheet would calculate has an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("node", "stop", "area", "cause", "why", "bring", "since"))
    for visit in digest.visits:
        texts = (visit.node, visit.stop, visit.area, visit.cause, why(visit, speaker), to_bring(visit, speaker))
        writer.writerow((*map(_cell, texts), speaker.when(visit.since_ms)))
    return out.getvalue()


def why(visit: Visit, speaker: Speaker) -> str:
    said = [speaker.cause(visit.cause), *(speaker.reason(reason) for reason in visit.reasons)]
    return "; ".join(said)


def to_bring(visit: Visit, speaker: Speaker) -> str:
    return "; ".join(dict.fromkeys(speaker.item(key) for key in visit.bring))


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
