"""What the console reads, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from agent.messages import Alarm, ClipNote, Describe, Help, HelpTest, Presence, State
from central.fleet.collect.intake import Refusal, take
from central.fleet.collect.store import reading
from central.fleet.collect.store.database import open_database
from central.fleet.collect.store.settling import settle
from central.fleet.collect.store.writing import write
from privacy.ids import new_clip_id
from tests.support.collecting import Talker

FRIDAY = datetime(2026, 11, 27, 22, 14, tzinfo=UTC)
FRIDAY_MS = round(FRIDAY.timestamp() * 1000)


def store(engine: Engine, *said: tuple[str, bytes], at: int) -> None:
    taken = [one for one in (take(*message, 1, at) for message in said) if not isinstance(one, Refusal)]
    assert len(taken) == len(said)
    with engine.begin() as connection:
        write(connection, "one", taken)


def filled(engine: Engine) -> tuple[Talker, Talker]:
    one, other = Talker("city/stop-1"), Talker("city/stop-2")
    store(engine, one.say(State("ready", "filming", FRIDAY, None, "nobody", {"camera": "ready"})), at=FRIDAY_MS)
    store(engine, one.say(Describe("Raspberry Pi 5", "", ("help button",), "lykta 1", {}, {"ack": {}})), at=FRIDAY_MS)
    store(engine, one.say(Help("p1", "pressed")), one.say(Alarm("help", "pressed", "p1")), at=FRIDAY_MS + 1000)
    store(engine, one.say(Alarm("disk", "full", "")), one.say(HelpTest("t", "open")), at=FRIDAY_MS)
    for minute, trigger in ((0, "help"), (30, "presence")):
        clip = new_clip_id((FRIDAY_MS + minute * 60_000) * 1_000_000)
        store(engine, one.say(ClipNote(clip, "recorded", trigger, "", 7)), at=FRIDAY_MS + minute * 60_000)
    store(engine, one.health("system", load_1m=0.5), one.health("system", load_1m=1.5), at=FRIDAY_MS)
    store(engine, one.say(Presence("some", FRIDAY), t=FRIDAY), at=FRIDAY_MS)
    other.next()
    store(engine, other.health(), other.say(State("lost", "connection", None, None, "technician", {})), at=FRIDAY_MS + 5000)
    with engine.begin() as connection:
        settle(connection, FRIDAY_MS, 1)
    return one, other


def test_the_fleet_at_a_glance(engine: Engine) -> None:
    filled(engine)
    with engine.connect() as connection:
        first, second = reading.fleet(connection)
        assert (first.node, first.state, first.reason, first.alarms, first.missing) == ("city/stop-1", "ready", "filming", 2, 0)
        assert (first.services, first.help_button) == ({"camera": "ready"}, "open")
        assert (second.state, second.since, second.lost) == ("lost", FRIDAY_MS + 5000, FRIDAY_MS + 5000)
        assert reading.node(connection, "city/stop-1") == first
        assert reading.node(connection, "city/stop-9") is None
        found = reading.describe(connection, "city/stop-1")
        assert found is not None
        assert found.model == "Raspberry Pi 5"
        assert reading.describe(connection, "city/stop-2") is None


def test_alarms_and_calls(engine: Engine) -> None:
    one, _ = filled(engine)
    with engine.connect() as connection:
        assert [(alarm.name, alarm.severity, alarm.ref) for alarm in reading.standing(connection)] == [
            ("help", "call", "p1"),
            ("disk", "critical", ""),
        ]
        assert reading.standing(connection, "city/stop-2") == []
        assert reading.calls(connection, FRIDAY_MS) == [reading.Press("city/stop-1", "p1", FRIDAY_MS + 1000, None, None)]
    later = FRIDAY_MS + 2_000_000
    store(engine, one.clear("disk"), at=later)
    with engine.connect() as connection:
        assert [(one.name, one.ending) for one in reading.ended(connection, "city/stop-1", FRIDAY_MS)] == [("disk", "cleared")]
        assert reading.changed_since(connection, later - 1)
        assert not reading.changed_since(connection, later)


def test_the_clip_of_stop_1_friday_at_22_14(engine: Engine) -> None:
    filled(engine)
    with engine.connect() as connection:
        [found] = reading.clips_between(connection, "city/stop-1", FRIDAY_MS - 60_000, FRIDAY_MS + 60_000)
        assert (found.trigger, found.stage, found.began, found.uploaded) == ("help", "recorded", FRIDAY_MS, None)
        assert len(reading.clips_between(connection, "", FRIDAY_MS, FRIDAY_MS + 3_600_000)) == 2
        assert reading.clips_between(connection, "city/stop-2", 0, FRIDAY_MS + 3_600_000) == []


def test_health_and_bands(engine: Engine) -> None:
    filled(engine)
    with engine.connect() as connection:
        [system] = reading.health_now(connection, "city/stop-1")
        assert (system.group, system.unreadable, sorted(system.numbers)) == ("system", {}, ["load_1m"])
        points = reading.series(connection, "city/stop-1", "system", 0)["load_1m"]
        assert [point.value for point in points] == [0.5, 1.5]
        assert [one.message.body.__class__.__name__ for one in reading.said(connection, "city/stop-1", "event/presence", 0)] == [
            "Presence"
        ]
        found = [(band.what, band.band) for band in reading.bands(connection, "city/stop-1", 0, FRIDAY_MS + 1)]
        assert ("presence", "some") in found


def test_what_is_missing(engine: Engine) -> None:
    """Of a new node what was before is not missing; the number that it skipped later is."""
    _, other = filled(engine)
    other.next()
    store(engine, other.health(), at=FRIDAY_MS + 6000)
    with engine.begin() as connection:
        settle(connection, FRIDAY_MS + 6000, 1)
    with engine.connect() as connection:
        [gap] = reading.missing(connection, "city/stop-2")
        assert (gap.first, gap.last, gap.cause) == (4, 4, "waiting")
        assert [one.cause for one in reading.not_heard(connection, "city/stop-2")] == ["before", "waiting"]
        assert [box.complete for box in reading.outboxes(connection, "city/stop-2")] == [False]
        assert [box.complete for box in reading.outboxes(connection, "city/stop-1")] == [True]
        assert [one.missing for one in reading.fleet(connection)] == [0, 1]


def test_who_reads_holds_up_nobody_and_writes_nothing(engine: Engine) -> None:
    one, _ = filled(engine)
    reader = open_database(engine.url.render_as_string(hide_password=False), reading=True)
    with reader.connect() as connection:
        before = reading.fleet(connection)
        store(engine, one.health("camera", frames=1), at=FRIDAY_MS + 9000)
        assert [node.node for node in reading.fleet(connection)] == [node.node for node in before]
        with pytest.raises(DBAPIError, match="read"):
            connection.exec_driver_sql("DELETE FROM nodes")
    with reader.connect() as connection:
        assert len(reading.health_now(connection, "city/stop-1")) == 2
    reader.dispose()
