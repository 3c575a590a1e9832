"""The collector's own alarms, as a pure function, and from the tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from agent.messages import ClipNote, Describe, HelpTest, Presence, State
from central.fleet.alarm_catalogue import CATALOGUE
from central.fleet.collect.alarms import DAY_MS, HOUR_MS, INTERVAL_MS, MINUTE_MS, NodeFacts, decide
from central.fleet.collect.intake import Taken, take
from central.fleet.collect.store.watching import watch
from central.fleet.collect.store.writing import write
from privacy.ids import new_clip_id
from tests.support.collecting import Talker, rows

NOW = 1_000 * DAY_MS
WELL = NodeFacts(NOW, None, 0, INTERVAL_MS, True, NOW, None, 72, None)


def names(facts: NodeFacts, *standing: str) -> list[str]:
    return [one.name for one in decide(facts, standing, NOW)]


def changed(**values: object) -> NodeFacts:
    return replace(WELL, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "raised", "kept"),
    [
        (changed(), False, False),
        (changed(lost=NOW - 4 * MINUTE_MS), False, True),
        (changed(lost=NOW - 5 * MINUTE_MS), True, True),
        (changed(back=NOW - 1 * MINUTE_MS), False, True),
        (changed(back=NOW - 3 * MINUTE_MS), False, False),
    ],
)
def test_lost_has_two_bounds(facts: NodeFacts, raised: bool, kept: bool) -> None:
    assert ("lost" in names(facts), "lost" in names(facts, "lost")) == (raised, kept)


@pytest.mark.parametrize(("minutes", "raised", "kept"), [(4, False, False), (6, False, True), (14, False, True), (16, True, True)])
def test_silent_is_three_intervals_without_a_word(minutes: int, raised: bool, kept: bool) -> None:
    facts = changed(heard=NOW - minutes * MINUTE_MS)
    assert ("silent" in names(facts), "silent" in names(facts, "silent")) == (raised, kept)
    assert "silent" not in names(changed(heard=NOW - DAY_MS, lost=NOW - DAY_MS), "silent")


@pytest.mark.parametrize(("hours", "raised", "kept"), [(11, False, False), (13, False, True), (25, True, True)])
def test_uploads_fall_behind_after_a_day(hours: int, raised: bool, kept: bool) -> None:
    facts = changed(oldest=NOW - hours * HOUR_MS)
    assert ("upload_behind" in names(facts), "upload_behind" in names(facts, "upload_behind")) == (raised, kept)


@pytest.mark.parametrize(("hours", "raised", "kept"), [(35, False, False), (37, False, True), (55, True, True)])
def test_clips_expire_after_three_quarters_of_their_time(hours: int, raised: bool, kept: bool) -> None:
    facts = changed(oldest=NOW - hours * HOUR_MS)
    assert ("clips_expiring" in names(facts), "clips_expiring" in names(facts, "clips_expiring")) == (raised, kept)
    assert "clips_expiring" not in names(changed(oldest=NOW - hours * HOUR_MS, clip_hours=None), "clips_expiring")


def test_a_missing_help_test_and_two_identities() -> None:
    assert names(changed(tested=NOW - 8 * DAY_MS - 1)) == ["help_test_missing"]
    assert names(changed(tested=NOW - 9 * DAY_MS, help_point=False)) == []
    assert names(changed(conflict=NOW - HOUR_MS)) == ["two_identities"]
    assert names(changed(conflict=NOW - 25 * HOUR_MS), "two_identities") == []


MOMENTS = st.integers(NOW - 20 * DAY_MS, NOW)


SOME, HOURS = st.none() | MOMENTS, st.none() | st.integers(1, 999)
FACTS = st.builds(NodeFacts, MOMENTS, SOME, MOMENTS, st.just(INTERVAL_MS), st.booleans(), MOMENTS, SOME, HOURS, SOME)


@given(FACTS)
def test_what_is_raised_stays_as_long_as_nothing_changes(facts: NodeFacts) -> None:
    """No alarm comes and goes by itself; each one is in the catalogue."""
    first = names(facts)
    assert set(first) <= set(names(facts, *first))
    assert set(names(facts, *CATALOGUE)) <= CATALOGUE.keys()


def test_alarms_from_the_tables(engine: Engine) -> None:
    node, then = Talker(), NOW - 9 * DAY_MS
    clip = new_clip_id((NOW - 2 * DAY_MS) * 1_000_000)
    said = [
        node.say(Describe("Pi", "", ("help button",), "lykta 1", {}, {})),
        node.say(ClipNote(clip, "recorded", "help", "", 1)),
        node.health("link", upload_waiting=1),
    ]

    def store(*messages: tuple[str, bytes], at: int) -> None:
        taken = [one for one in (take(*message, 1, at) for message in messages) if isinstance(one, Taken)]
        with engine.begin() as connection:
            write(connection, "one", taken)

    def stand() -> list[tuple[object, ...]]:
        with engine.begin() as connection:
            watch(connection, NOW, 72)
        return rows(engine, "SELECT name FROM alarms WHERE ended IS NULL ORDER BY name")

    store(*said, at=then)
    assert stand() == [("help_test_missing",), ("silent",), ("upload_behind",)]
    store(node.say(HelpTest("t", "open")), node.say(ClipNote(clip, "uploaded", "help", "", 1)), at=NOW)
    assert stand() == []
    store(node.say(State("lost", "connection", None, None, "technician", {})), at=NOW - 6 * MINUTE_MS)
    assert stand() == [("lost",)]
    store(node.say(Presence("few", datetime.now(UTC))), at=NOW - 3 * MINUTE_MS)
    assert stand() == []
