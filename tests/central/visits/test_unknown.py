"""What the evidence does not single out is unknown, what somebody knows of is nothing, and noise changes neither."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from agent.messages import Alarm, ClipNote, Failure, Help, HelpTest, Presence, Rescue, Switch, Tamper
from central.fleet.collect.intake import Taken
from central.fleet.visits.causes import UNKNOWN
from privacy.ids import new_clip_id
from tests.support.collecting import ready
from tests.support.visiting import DAY, HOUR, LOST, MINUTE, NOW, Stop, cause_of, found, moment, state, well

GONE = NOW - 2 * HOUR


def gone(stop: Stop) -> Stop:
    return stop.say(LOST, stop.end + MINUTE)


def silent() -> Stop:
    return Stop(end=GONE - MINUTE).usual()


def of_state(reason: str) -> Stop:
    return Stop().usual().say(state("blind", reason, NOW - HOUR, "technician"), NOW - HOUR)


def failing(unit: str, result: str) -> Stop:
    stop = Stop().usual()
    for ago in range(5):
        stop.say(Failure(unit, result, "1", False), NOW - ago * HOUR - MINUTE)
    return stop


def merged(one: Stop, other: Stop) -> Stop:
    for message in other.messages:
        if isinstance(message, Taken) and isinstance(message.message.body, Failure):
            one.say(message.message.body, message.received)
    return one


def refusing() -> Stop:
    """Nine tenths and more are used, and not quite all."""
    stop = Stop().usual().told(used_share=0.95)
    return stop.say(state("degraded", "disk_refuses_events", NOW - HOUR, "ops"), NOW - HOUR)


def rebooting() -> Stop:
    stop = Stop().usual()
    for ago in range(8):
        stop.say(state("starting", "connecting", NOW - ago * HOUR), NOW - ago * HOUR - MINUTE, boot=f"r{ago}")
        stop.say(LOST, NOW - ago * HOUR - 30 * MINUTE, boot=f"r{ago}")
    return stop.say(state("ready", "filming", NOW), NOW, boot="r0")


def weak_and_worn() -> Stop:
    """Two causes that could each have silenced it."""
    return gone(silent().told(undervoltage_times=9, life_used=1.0))


UNKNOWNS: dict[str, Callable[[], Stop]] = {
    "one node falls silent without a word": lambda: gone(silent()),
    "a node of which only the messages stop, not the connection": lambda: Stop(end=NOW - HOUR).usual(),
    "a reason that nobody knows": lambda: of_state("lens_cap_war"),
    "no answer of the camera": lambda: of_state("camera_silent"),
    "no result of the detector": lambda: of_state("detector_down"),
    "dark, and no fault of the lamp": lambda: of_state("too_dark"),
    "several programs that crash": lambda: merged(failing("uplink", "signal"), failing("retention", "signal")),
    "a disk that refuses, and may be full": refusing,
    "a camera program that ends by itself": lambda: failing("camera", "exit-code"),
    "boots without a reason": rebooting,
    "silent, with two causes": weak_and_worn,
    "messages that the broker refuses": lambda: Stop().usual().told(messages_refused=4),
    "a full disk that also has errors": lambda: (
        Stop().usual().told(used_share=0.99).say(Alarm("disk", "disk_error", ""), NOW - HOUR)
    ),
    "no memory": lambda: Stop().usual().told(memory_available_mb=20),
}


def once(body: Callable[[], object]) -> Stop:
    return Stop().usual().say(body(), NOW - HOUR)  # type: ignore[arg-type]


def covered(at: int) -> Stop:
    return Stop().usual().say(Tamper("covered", "found", moment(at)), at).say(Alarm("tamper", "covered", ""), at)


def brief(kind: str) -> Stop:
    """Covered, and free again."""
    stop, at = Stop().usual(), NOW - 2 * HOUR
    return stop.say(Tamper(kind, "found", moment(at)), at).say(Tamper(kind, "over", moment(at)), at + MINUTE)  # type: ignore[arg-type]


NOTHING: dict[str, Callable[[], Stop]] = {
    "all is well": lambda: Stop().usual(),
    "rest by the hours": lambda: Stop().usual().say(state("off", "outside_hours", NOW - HOUR), NOW - HOUR),
    "a pause": lambda: Stop().usual().say(state("off", "paused", NOW - HOUR, "ops"), NOW - HOUR),
    "a visit": lambda: Stop().usual().say(state("setup", "visit", NOW - MINUTE, "technician"), NOW - MINUTE),
    "maintenance by order, and silence": lambda: gone(silent().say(Alarm("maintenance", "order", ""), GONE - HOUR)),
    "silent for two minutes": lambda: gone(Stop(end=NOW - 3 * MINUTE).usual()),
    "stopped in order an hour ago": lambda: silent().say(state("stopping", "told_to", GONE), GONE),
    "one failure": lambda: once(lambda: Failure("camera", "signal", "SEGV", False)),
    "one rescue of the link": lambda: once(lambda: Rescue("reconnect", "done", 900)),
    "a door that was opened just now": lambda: Stop().usual().say(Switch("door", "open"), NOW - 5 * MINUTE),
    "a lens that was covered for a minute": lambda: brief("covered"),
    "a sun that blinds for an hour": lambda: Stop().usual().say(Alarm("tamper", "blinded", ""), NOW - HOUR),
    "a call for help": lambda: Stop().usual().say(Help("p", "pressed"), NOW).say(Alarm("help", "pressed", "p"), NOW),
    "darkness where none is a fault": lambda: Stop().usual().say(state("degraded", "too_dark", NOW - 3 * HOUR), NOW - 3 * HOUR),
    "a fall of the voltage beside those of earlier days": lambda: Stop().usual(undervoltage_times=7).told(undervoltage_times=8),
    "a lens that has been covered for ten minutes": lambda: covered(NOW - 10 * MINUTE),
}


@pytest.mark.parametrize("what", UNKNOWNS)
def test_what_singles_out_no_cause_is_unknown(engine: Engine, what: str) -> None:
    assert cause_of(engine, UNKNOWNS[what]()) == UNKNOWN


@pytest.mark.parametrize("what", NOTHING)
def test_what_needs_nobody_is_not_listed(engine: Engine, what: str) -> None:
    assert cause_of(engine, NOTHING[what]()) == ""


def test_an_outage_of_the_centre_sends_nobody_anywhere(engine: Engine) -> None:
    """The broker died, without wills; or the network before it, with them. One node was ill before, and stays listed."""
    stops = [Stop(f"city/stop-{one}", f"area-{one % 4}", end=GONE - one * 5_000).usual() for one in range(20)]
    ill = Stop("city/ill", "area-0", end=GONE - 9 * HOUR).usual()
    assert [one.node for one in found(engine, [*stops, gone(ill)])] == ["city/ill"]


def test_links_that_all_were_rescued_are_the_centres(engine: Engine) -> None:
    stops = [Stop(f"city/stop-{one}", f"area-{one % 4}").usual() for one in range(12)]
    for one in stops:
        for ago in (20 * HOUR, 3 * HOUR):
            one.say(Rescue("reconnect", "done", 1000), NOW - ago)
    assert found(engine, stops) == ()


def renamed(makers: list[Callable[[], Stop]], area: str) -> list[Stop]:
    """The same messages from nodes with names of their own."""
    stops = []
    for number, make in enumerate(makers):
        made = make()
        stop = Stop(f"city/part-{number}", area, made.end, uuid.uuid4().hex)
        for one in made.messages:
            envelope = one.message.envelope  # type: ignore[union-attr]
            told = None if not envelope.hist else round(envelope.t.timestamp() * 1000)
            stop.say(one.message.body, one.received, boot=envelope.boot_id, clock=envelope.clock, told=told)  # type: ignore[union-attr]
        stops.append(stop)
    return stops


MAKERS: list[Callable[[], Stop]] = [
    *UNKNOWNS.values(),
    lambda: gone(silent().told(undervoltage_times=9)),
    lambda: Stop().usual().told(temperature_c=85.0),
    lambda: failing("retention", "signal"),
]


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0, max_value=1 << 30))
def test_the_order_in_which_messages_come_does_not_matter(tmp_path: Path, seed: int) -> None:
    stops = [*renamed(MAKERS, "North"), *well(20, "South")]
    answers = []
    for shuffle in (seed, seed + 1):
        engine = ready(f"sqlite:///{tmp_path / uuid.uuid4().hex}.db")
        answers.append(found(engine, stops, shuffle=shuffle))
        engine.dispose()
    assert answers[0] == answers[1] != ()


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0, max_value=1 << 30))
def test_noise_makes_no_cause_of_what_is_unknown(tmp_path: Path, seed: int) -> None:
    """People, clips, lights, doors that are used, presses and tests say nothing about a cause."""
    chance = random.Random(seed)
    stops = renamed(list(UNKNOWNS.values()), "North")
    for stop in stops:
        for _ in range(60):
            at = stop.end - chance.randrange(MINUTE, DAY)
            body = chance.choice(
                [
                    Presence(chance.choice(("none", "few", "crowd")), moment(at)),  # type: ignore[arg-type]
                    ClipNote(str(new_clip_id(at * 1_000_000)), "recorded", "presence", "", 1000),
                    Switch("light", chance.choice(("on", "off"))),  # type: ignore[arg-type]
                    Switch("motion", chance.choice(("begun", "over"))),  # type: ignore[arg-type]
                    Help(uuid.uuid4().hex, chance.choice(("pressed", "taken"))),  # type: ignore[arg-type]
                    HelpTest(uuid.uuid4().hex, "open"),
                ]
            )
            stop.say(body, at)
    engine = ready(f"sqlite:///{tmp_path / uuid.uuid4().hex}.db")
    causes = {one.node: one.cause for one in found(engine, [*stops, *well(20, "South")])}
    engine.dispose()
    assert causes == {stop.name: UNKNOWN for stop in stops}
