"""What a batch of messages makes of the tables, on both databases."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from agent.messages import Alarm, Body, ClipNote, Describe, Help, HelpTest, Presence, State
from central.fleet.collect.intake import Cleared, Refusal, Taken, take
from central.fleet.collect.store.settling import settle
from central.fleet.collect.store.writing import Written, write
from central.fleet.collect.subscriptions import Fresh
from privacy.ids import new_clip_id
from tests.support.collecting import Talker, rows

READY = State("ready", "filming", datetime.now(UTC), None, "nobody", {"camera": "ready"})
LOST = State("lost", "connection", None, None, "technician", {})


def judged(*said: tuple[str, bytes], at: int = 1000, retained: bool = False) -> list[Taken | Cleared]:
    found = [take(where, payload, 1, at, retained=retained) for where, payload in said]
    assert not [one for one in found if isinstance(one, Refusal)]
    return [one for one in found if not isinstance(one, Refusal)]


def store(engine: Engine, *said: tuple[str, bytes], replica: str = "one", at: int = 1000) -> Written:
    with engine.begin() as connection:
        return write(connection, replica, judged(*said, at=at))


def test_a_message_counts_once_however_often_it_comes(engine: Engine) -> None:
    """Also within one batch, and marked as late the second time."""
    node = Talker()
    first = node.presence()
    assert (len(store(engine, first, first).fresh), store(engine, first, first).duplicates) == (1, 2)
    late = (first[0], first[1].replace(b'"hist":false', b'"hist":true'))
    assert late != first
    assert store(engine, late).duplicates == 1
    assert rows(engine, "SELECT seq, kind, tail FROM messages") == [(1, "presence", "event/presence")]
    assert rows(engine, "SELECT count(*) FROM conflicts") == [(0,)]


def test_another_content_with_the_same_number_is_kept_as_a_conflict(engine: Engine) -> None:
    """Both in one batch and later; the first one stays what is known."""
    node = Talker()
    one, other, third = node.say(READY, seq=1), node.say(LOST, seq=1), node.say(Presence("few", datetime.now(UTC)), seq=1)
    assert store(engine, one, other).conflicts == 1
    assert store(engine, third, other).conflicts == 2
    assert rows(engine, "SELECT tail FROM conflicts ORDER BY tail") == [("event/presence",), ("state",)]
    assert rows(engine, "SELECT state, lost FROM nodes") == [("ready", None)]


def test_a_will_says_lost_until_the_node_is_heard_again(engine: Engine) -> None:
    node = Talker()
    will = node.say(LOST)
    store(engine, node.say(READY), at=1000)
    store(engine, will, at=2000)
    assert rows(engine, "SELECT state, heard, lost FROM nodes") == [("ready", 1000, 2000)]
    store(engine, node.health(), at=3000)
    assert rows(engine, "SELECT state, heard, lost, back FROM nodes") == [("ready", 3000, None, 3000)]


def test_an_older_state_or_description_does_not_replace_a_newer_one(engine: Engine) -> None:
    """Replicas store the messages of one node in any order."""
    node = Talker()
    older, newer = node.say(READY), node.say(State("off", "hours", None, None, "nobody", {}))
    old, new = (node.say(Describe("Pi", "", ("help button",), f"lykta {version}", {}, {})) for version in (1, 2))
    store(engine, newer, new)
    store(engine, older, old)
    assert rows(engine, "SELECT state, reason FROM nodes") == [("off", "hours")]
    [(describe,)] = rows(engine, "SELECT describe FROM nodes")
    assert "lykta 2" in describe


def test_an_alarm_stands_until_its_empty_message(engine: Engine) -> None:
    node = Talker()
    store(engine, node.say(Alarm("disk", "full", "")), at=1000)
    assert rows(engine, "SELECT name, reason, raised, ended FROM alarms") == [("disk", "full", 1000, None)]
    store(engine, node.clear("disk"), node.clear("disk"), at=2000)
    assert rows(engine, "SELECT raised, ended, ending FROM alarms") == [(1000, 2000, "cleared")]


def test_an_old_end_does_not_end_a_new_alarm(engine: Engine) -> None:
    """A replica that was away hears raise, end and raise again, after the other replica did."""
    node = Talker()
    first, end, second = node.say(Alarm("help", "pressed", "a")), node.clear("help"), node.say(Alarm("help", "pressed", "b"))
    store(engine, first, end, second, replica="here")
    for one in (first, end, second):
        store(engine, one, replica="away")
        assert rows(engine, "SELECT ref FROM alarms WHERE ended IS NULL") == [("b",)]
    store(engine, end, replica="away", at=5000)
    assert rows(engine, "SELECT ref FROM alarms WHERE ended IS NULL") == []


def test_a_new_session_forgets_what_this_replica_saw(engine: Engine) -> None:
    """Then the broker sends what stands; an end without that ends what stands."""
    node = Talker()
    store(engine, node.say(Alarm("disk", "full", "")), node.clear("disk"), node.say(Alarm("disk", "full", "")), replica="other")
    with engine.begin() as connection:
        write(connection, "one", [Fresh(), *judged(node.clear("disk"))])
    assert rows(engine, "SELECT count(*) FROM alarms WHERE ended IS NULL") == [(0,)]


def test_a_press_is_answered_and_its_alarm_is_not_told_again(engine: Engine) -> None:
    node = Talker()
    store(engine, node.say(Help("p1", "pressed")), node.say(Alarm("help", "pressed", "p1")), at=1000)
    store(engine, node.say(Help("p1", "taken")), at=2000)
    assert rows(engine, "SELECT press, pressed, taken FROM presses") == [("p1", 1000, 2000)]
    assert rows(engine, "SELECT answered, ended FROM alarms") == [(2000, None)]
    assert rows(engine, "SELECT what, band FROM hours") == [("help", "one")]


def test_a_clip_keeps_its_trigger_and_when_it_was_uploaded(engine: Engine) -> None:
    node, clip = Talker(), new_clip_id(1_700_000_000_000_000_000)
    recorded, going = ClipNote(clip, "recorded", "help", "", 7), ClipNote(clip, "uploading", "", "", 7)
    last = node.say(recorded), node.say(going), node.say(ClipNote(clip, "uploaded", "help", "", 7))
    store(engine, *last, at=4000)
    store(engine, node.say(ClipNote(clip, "expired", "help", "held", 7)), at=5000)
    found = rows(engine, 'SELECT stage, "trigger", began, uploaded, changed FROM clips')
    assert found == [("expired", "help", 1_700_000_000_000, 4000, 5000)]


def test_bands_are_of_the_hour_that_the_node_says(engine: Engine) -> None:
    node, then = Talker(), datetime(2026, 11, 30, 7, 59, tzinfo=UTC)
    said = [node.say(Presence(people, then), t=then) for people in ("few", "crowd", "some")]
    store(engine, said[0])
    store(engine, *said[1:])
    store(engine, node.say(HelpTest("t", "closed")), at=6000)
    assert rows(engine, "SELECT hour, what, band FROM hours") == [(1_796_022_000_000, "presence", "crowd")]
    assert rows(engine, "SELECT help_test, help_button FROM nodes") == [(6000, "closed")]


def test_the_account_names_what_did_not_come(engine: Engine) -> None:
    """1 of the node's outboxes: of the numbers 1 to 10, three were dropped by the node, and two came nowhere."""
    node = Talker()
    said = {seq: node.health() for seq in range(1, 8)}
    store(engine, *[said[seq] for seq in (1, 2, 6, 7)], at=1_000_000)
    store(engine, node.tombstone("bound", (3, 3)), node.health(), at=1_000_000)
    for now in (1_000_000, 1_200_000):
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE epochs SET open = true")
            assert settle(connection, now, 1) == 1
    found = rows(engine, "SELECT first, last, cause FROM gaps ORDER BY first")
    assert found == [(3, 3, "bound"), (4, 5, "missing")]
    assert rows(engine, "SELECT last, settled FROM epochs WHERE NOT open") == [(9, 9)]
    store(engine, said[4], said[5])
    with engine.begin() as connection:
        settle(connection, 1_300_000, 1)
    assert rows(engine, "SELECT first, last, cause FROM gaps ORDER BY first") == [(3, 3, "bound")]


ODD = st.text(alphabet=st.characters(codec="utf-8"), max_size=400)


@pytest.mark.parametrize("kind", ["state", "alarm", "clip", "help", "describe"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(one=ODD, other=ODD)
def test_no_text_of_a_node_stops_the_database(engine: Engine, kind: str, one: str, other: str) -> None:
    """NUL characters, line ends, quotes, very long texts: PostgreSQL refuses some of them as text."""
    bodies: dict[str, Body] = {
        "state": State("ready", one, None, None, "nobody", {one: other}),
        "alarm": Alarm("disk", one, other),
        "clip": ClipNote("c", "recorded", one, other, 0),
        "help": Help(one, "pressed"),
        "describe": Describe(one, other, (one,), other, {one: 1}, {"ack": {one: other}}),
    }
    node = Talker(f"city/stop-{uuid.uuid4().hex[:8]}")
    assert len(store(engine, node.say(bodies[kind])).fresh) == 1


def test_thousands_of_gaps_are_accounted_for(engine: Engine) -> None:
    """A node that was away for days sends its events first: between any two of them is a gap, until its health comes."""
    node, last = Talker(), 2401
    store(engine, *(node.say(READY, seq=number) for number in range(1, last + 1, 2)))
    with engine.begin() as connection:
        settle(connection, 2000, 1)
    assert rows(engine, "SELECT count(*) FROM gaps WHERE cause IN ('waiting', 'before')") == [(1200,)]
    store(engine, *(node.say(READY, seq=number) for number in range(2, last, 2)))
    with engine.begin() as connection:
        settle(connection, 3000, 1)
    assert rows(engine, "SELECT count(*) FROM gaps") == [(0,)]
