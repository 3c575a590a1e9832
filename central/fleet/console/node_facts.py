"""What the page of one node shows beside its state: alarms, clips, numbers with charts, journal heads, records, answers."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, func, select

from agent.messages import CommandAnswer, Describe, Heads, HealthGroup
from central.fleet.collect.store import reading
from central.fleet.collect.store.tables import clips, messages
from central.fleet.console.charts import Chart, chart

DAY_MS = 24 * 3_600_000
_CHARTED: Final[dict[HealthGroup, tuple[str, ...]]] = {
    "system": ("temperature_c", "memory_available_mb", "load_1m"),
    "storage": ("used_share", "written_mb_day"),
    "buffer": ("pending",),
    "link": ("upload_waiting", "round_trip_ms"),
    "camera": ("fps", "analysis_hz"),
}
_ALARM_DAYS, _CLIP_DAYS = 7, 31
_MOST_CLIPS, _MOST_ENDED, _MOST_ANSWERS, _MOST_MESSAGES = 40, 20, 10, 1500


class ClipRow(Struct, frozen=True):
    """gone_ms: when the node deletes it at the latest, or deleted it; None if not known."""

    clip: reading.Clip
    gone_ms: int | None


class Live(Struct, frozen=True):
    """What changes while somebody looks. alarms: those that stand first; stages: number of clips by stage."""

    services: dict[str, str]
    alarms: list[reading.Standing]
    clips: list[ClipRow]
    stages: list[tuple[str, int]]


class Details(Struct, frozen=True):
    """What is read when the page is opened. missing: messages that did not come, for no known reason."""

    describe: Describe | None
    groups: list[reading.HealthNow]
    charts: list[Chart]
    heads: Heads | None
    answers: list[tuple[int, CommandAnswer]]
    help_test_ms: int
    missing: int


def live(connection: Connection, node: str, clip_hours: int | None, now: int) -> Live:
    """clip_hours: that the node keeps a clip, None if not known. now: ms since 1970."""
    found = reading.node(connection, node)
    over = reading.ended(connection, node, now - _ALARM_DAYS * DAY_MS)[:_MOST_ENDED]
    counted = select(clips.c.stage, func.count()).where(clips.c.node == node).group_by(clips.c.stage).order_by(clips.c.stage)
    lately = reading.clips_between(connection, node, now - _CLIP_DAYS * DAY_MS, now + DAY_MS)[-_MOST_CLIPS:]
    return Live(
        found.services if found else {},
        [*reading.standing(connection, node), *over],
        [clip_row(clip, clip_hours) for clip in reversed(lately)],
        [(str(row[0]), int(row[1])) for row in connection.execute(counted)],
    )


def clip_row(clip: reading.Clip, clip_hours: int | None) -> ClipRow:
    gone = {"expired": clip.changed, "dropped": clip.changed, "uploaded": clip.uploaded}.get(clip.stage)
    if clip_hours and clip.began and clip.stage in ("recorded", "uploading"):
        gone = clip.began + clip_hours * 3_600_000
    return ClipRow(clip, gone)


def details(connection: Connection, node: str, now: int) -> Details:
    found = reading.node(connection, node)
    heads = [one.message.body for one in reading.said(connection, node, "journal", 0, 1)]
    return Details(
        reading.describe(connection, node),
        reading.health_now(connection, node),
        _charts(connection, node, now),
        next((body for body in heads if isinstance(body, Heads)), None),
        _answers(connection, node),
        found.help_test if found else 0,
        found.missing if found else 0,
    )


def _charts(connection: Connection, node: str, now: int) -> list[Chart]:
    """The last day of those numbers that say most."""
    begin, made = now - DAY_MS, []
    for group, names in _CHARTED.items():
        found = reading.series(connection, node, group, begin, _MOST_MESSAGES)
        for name in names:
            points = [(point.told, float(point.value)) for point in found.get(name, ()) if point.value is not None]
            made.append(chart(name, [point for point in points if point[0] >= begin], begin, now))
    return [one for one in made if one]


def _answers(connection: Connection, node: str) -> list[tuple[int, CommandAnswer]]:
    """The last answers to commands, and when they came."""
    where = (messages.c.node == node, messages.c.kind == "command")
    tails = select(messages.c.tail).where(*where).order_by(messages.c.received.desc()).limit(_MOST_ANSWERS)
    said = [one for tail in dict.fromkeys(connection.execute(tails).scalars()) for one in reading.said(connection, node, tail, 0)]
    found = [(one.received, one.message.body) for one in said if isinstance(one.message.body, CommandAnswer)]
    return sorted(found, key=lambda one: -one[0])[:_MOST_ANSWERS]
