"""The catalogue of alarms, and the decider of the uplink's: facts and what stands in, what changes out."""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alarm_catalogue import CATALOGUE, AlarmKind, kind_of
from agent.inbox.applied import Applied, note_of
from agent.messages import State
from agent.outbox.outbox import Mark
from agent.runtime.config import parse
from agent.runtime.status import CameraStatus, IoStatus, UplinkStatus
from agent.uplink.health.alarm_facts import AlarmWatch
from agent.uplink.health.alarms import VALUES, AlarmFacts, Memory, UplinkAlarms, step
from agent.uplink.health.groups import collect
from agent.uplink.storing import OutboxWriter
from privacy.masking.view_guard import Kind
from provisioning.layout import CODE, Layout
from tests.support import alarm_table
from tests.support.broker import Broker, Published, until
from tests.support.outboxes import outbox_at
from tests.support.settings import GOOD
from tests.support.stop import Stop

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UPLINK = {kind.id for kind in CATALOGUE.values() if kind.by == "uplink"}


# -- the catalogue -----------------------------------------------------------------------------------------------------


def test_the_document_is_the_catalogue() -> None:
    assert alarm_table.PLACE.read_text() == alarm_table.text()


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_each_alarm_says_what_is_wrong_and_what_to_do_in_both_languages(kind: AlarmKind) -> None:
    for text in (kind.sv, kind.en):
        assert 10 < len(text.says) < 100
        assert text.do
        assert not (text.says + text.do).endswith(".")
    assert bool(kind.sv.bring) == bool(kind.en.bring)
    assert kind.sv.says != kind.en.says
    assert kind.raise_at >= kind.clear_at


def raised() -> set[str]:
    """Names of the alarms that camera and io raise: the first argument of each `Alarm(…)` in their code."""
    calls = [
        node for folder in ("camera", "io") for path in (CODE / "agent" / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Alarm"
    ]  # fmt: skip
    return {ast.literal_eval(call.args[0]) for call in calls}


def test_no_alarm_is_without_an_entry() -> None:
    """What is raised is in the catalogue, by name or by name and reason; and nothing else is."""
    reasons = {f"tamper.{kind}" for kind in (*get_args(Kind), "frozen") if kind}
    assert raised() - {"tamper"} | reasons | VALUES.keys() == CATALOGUE.keys()
    assert VALUES.keys() == UPLINK
    assert all(kind_of("tamper", one.partition(".")[2]) for one in reasons)
    assert kind_of("help", "pressed") is CATALOGUE["help"]
    assert kind_of("of_tomorrow", "") is None


# -- the decider -------------------------------------------------------------------------------------------------------

NUMBERS = st.none() | st.floats(-100, 100)
FACTS = st.builds(
    AlarmFacts,
    **{name: NUMBERS for name in get_type_hints(AlarmFacts) if name != "refused"},
    refused=st.none() | st.sampled_from([(), ("basis",), ("view", "config")]),
)
LOOKS = st.lists(st.tuples(FACTS, st.floats(0.1, 2000)), max_size=40)


@given(LOOKS)
def test_an_alarm_comes_and_goes_only_after_its_time_and_its_bound(looks: list[tuple[AlarmFacts, float]]) -> None:
    """For each change: since the last value that spoke for what stood, at least the kind's time has passed."""
    memory: dict[str, Memory] = {}
    spoke, now = dict.fromkeys(VALUES, 0.0), 0.0
    for facts, passed in looks:
        now += passed
        after = step(facts, memory, now)
        for name, value_of in VALUES.items():
            kind, value = CATALOGUE[name], value_of(facts)
            stood = memory.get(name, Memory()).stands
            if after[name].stands != stood:
                assert value is not None
                assert value < kind.clear_at if stood else value >= kind.raise_at
                assert now - spoke[name] >= (kind.ends_s if stood else kind.after_s) - 1e-6
            elif value is None:
                assert after[name] == memory.get(name, Memory())
            if value is not None and not (value < kind.clear_at if stood else value >= kind.raise_at):
                spoke[name] = now
        memory = after


@given(FACTS)
def test_the_same_facts_for_a_day_settle(facts: AlarmFacts) -> None:
    """What is bad stands, what is good does not; between the bounds it stays as it was."""
    for stood in (False, True):
        memory = {name: Memory(stood) for name in VALUES}
        for hour in range(26):
            memory = step(facts, memory, hour * 3600.0)
        for name, value_of in VALUES.items():
            kind, value = CATALOGUE[name], value_of(facts)
            if value is None:
                assert memory[name].stands == stood
            elif value >= kind.raise_at:
                assert memory[name].stands
            elif value < kind.clear_at:
                assert not memory[name].stands
            else:
                assert memory[name].stands == stood


def test_a_board_near_its_bound_does_not_flap() -> None:
    """Between 72 and 80 degrees nothing changes, however often it goes up and down."""
    memory: dict[str, Memory] = {}
    seen = []
    for look in range(4 * 240):
        memory = step(AlarmFacts(temperature_c=81.0 if look < 40 else 73.0 + look % 8), memory, look * 15.0)
        seen.append(memory["too_hot"].stands)
    assert seen.index(True) == 20  # five minutes
    assert seen[-1]


# -- stored ------------------------------------------------------------------------------------------------------------


class Silent:
    """A runtime as far as `OutboxWriter` needs one."""

    def log(self, *_words: object, **_facts: object) -> None:
        pass


def alarms_in(path: Path) -> list[tuple[str, str]]:
    outbox = outbox_at(path)
    found = [(one.tail, json.loads(one.payload)["body"]["reason"] if one.payload else "") for one in outbox.take(Mark(), 100)]
    outbox.close()
    return found


def test_what_ended_while_the_uplink_was_off_is_cleared(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path / "state.db")
    writer = OutboxWriter(Silent(), outbox)  # type: ignore[arg-type]
    UplinkAlarms(tmp_path / "uplink/alarms.json", outbox, writer).see(AlarmFacts(refused=("view",), read_only=1), 0.0)
    later = UplinkAlarms(tmp_path / "uplink/alarms.json", outbox, writer)
    later.see(AlarmFacts(refused=(), read_only=1), 100.0)
    later.see(AlarmFacts(refused=(), read_only=1), 200.0)
    outbox.close()
    told = alarms_in(tmp_path / "state.db")
    assert told == [("alarm/disk_read_only", "disk_read_only"), ("alarm/refused", "view_refused"), ("alarm/refused", "")]
    assert json.loads((tmp_path / "uplink/alarms.json").read_bytes()) == ["disk_read_only"]


# -- the facts ---------------------------------------------------------------------------------------------------------


def watch(tmp_path: Path, settings: str = "", clock: list[float] | None = None) -> AlarmWatch:
    now = clock or [0.0]
    return AlarmWatch(Layout(tmp_path), parse(GOOD + settings), lambda: NOON, lambda: now[0])


def test_a_service_that_does_not_answer_says_nothing(tmp_path: Path) -> None:
    facts = watch(tmp_path).facts(collect({}, ()), {}, None)
    values = msgspec.structs.asdict(facts)
    assert {name: value for name, value in values.items() if value is not None} == {"refused": ()}


def test_masks_that_are_wanted_are_no_alarm(tmp_path: Path) -> None:
    """The profile `full`; and the nights of a stop that has no light, by its setting."""
    night = CameraStatus(full_share=1.0, full_share_by_cause={"dark": 1.0})
    groups = collect({"camera": night}, ())
    assert watch(tmp_path).facts(groups, {"camera": night}, None).full_share == pytest.approx(1.0)
    assert watch(tmp_path, "[camera]\ndark_minutes = 0\n").facts(groups, {"camera": night}, None).full_share == pytest.approx(0.0)
    assert watch(tmp_path, '[mask]\nprofile = "full"\n').facts(groups, {"camera": night}, None).full_share is None


def test_refused_commands_are_those_of_the_last_hour(tmp_path: Path) -> None:
    clock = [0.0]
    looking = watch(tmp_path, clock=clock)
    found = []
    for total in (2, 4, 9, 9, 1):
        statuses = {"io": IoStatus(commands_refused=total), "uplink": UplinkStatus()}
        found.append(looking.facts(collect(statuses, ()), statuses, None).commands)
        clock[0] += 1500
    assert found == [0, 2, 7, 5, 0]


def test_what_stands_in_state_and_contacts_is_a_fact(tmp_path: Path) -> None:
    statuses = {"io": IoStatus(parts={"door": "open"}, unanswered=True), "camera": CameraStatus(breach_candidates=2)}
    failed = State("blind", "self_test_failed", None, None, "technician", {})
    facts = watch(tmp_path).facts(collect(statuses, ()), statuses, failed)
    assert (facts.door_open, facts.unanswered, facts.self_test_failed, facts.leaks) == (True, True, True, 2)


# -- the real uplink ---------------------------------------------------------------------------------------------------


def standing(stop: Stop, heard: list[Published]) -> dict[str, str]:
    """The alarms that stand at the broker, with their reasons."""
    found: dict[str, str] = {}
    for one in heard:
        tail = one.topic.removeprefix(f"{stop.here}/alarm/")
        found.pop(tail, None)
        if one.payload:
            found[tail] = json.loads(one.payload)["body"]["reason"]
    return found


def judge(stop: Stop, result: str) -> None:
    """As `lykta apply` leaves its judgement of a view."""
    path = note_of(stop.layout, "view")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(Applied("view", "0" * 64, result, "why", "basis-1", (), NOON + timedelta(hours=1))))  # type: ignore[arg-type]


@pytest.mark.slow
def test_alarms_are_raised_sent_again_at_birth_and_cleared(stop: Stop, broker: Broker) -> None:
    """A refused view and a press that nobody answered: told at the broker, told again to one that lost its store, over a restart
    of the uplink too; and what ended is cleared."""
    stop.neighbour("camera")
    io = stop.neighbour("io")
    io.detail = {"presses": 1, "unanswered": True}
    judge(stop, "refused")
    both = {"refused": "view_refused", "help_unanswered": "help_unanswered"}
    with broker.ear(f"{stop.here}/alarm/#") as heard:
        stop.start()
        until(lambda: standing(stop, heard()) == both, "both are raised")
    assert stop.end() == 0
    broker.stop()
    for store in broker.folder.rglob("*.db"):
        store.unlink()
    broker.start()
    with broker.ear(f"{stop.here}/alarm/#") as heard:
        stop.start()
        until(lambda: standing(stop, heard()) == both, "a broker without a memory is told again")
        judge(stop, "placed")
        until(lambda: standing(stop, heard()) == {"help_unanswered": "help_unanswered"}, "what ended is cleared", 60)
