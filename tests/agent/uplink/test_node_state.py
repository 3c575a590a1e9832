"""The node's state as the uplink decides it: facts in, state out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.messages import Owner, State, StateName
from agent.runtime.refusal import OWNERS, code_of
from agent.runtime.status import ServiceState
from agent.uplink.node_state import ASK_S, BLIND_S, TOLD_S, Facts, Word, decide
from privacy.errors import ConfigError, EnrolmentError, MediaError, ModelError, RecordError, coded

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATES: tuple[StateName, ...] = ("starting", "ready", "degraded", "off", "blind", "setup", "stopping")
OWNER: tuple[Owner, ...] = ("nobody", "technician", "ops", "lawyer")
ANSWERS = st.builds(
    ServiceState,
    st.sampled_from(STATES),
    st.sampled_from(["filming", "disk_full"]),
    st.just(NOW),
    st.none(),
    st.sampled_from(OWNER),
)
TOLD = st.builds(
    State, st.sampled_from(STATES), st.sampled_from(["filming", "camera_silent"]), st.just(NOW - timedelta(hours=1)), st.none(),
    st.just("nobody"), st.just({}),
)  # fmt: skip
FACTS = st.builds(
    Facts,
    now=st.just(NOW),
    camera=st.none() | ANSWERS,
    io=st.none() | ANSWERS,
    silent_s=st.floats(0, 100),
    heard=st.booleans(),
    word=st.none() | st.builds(Word, st.sampled_from(sorted(OWNERS)), st.sampled_from(OWNER)),
    uplink=st.just("ready"),
    told=st.none() | TOLD,
)


@given(FACTS)
def test_silence_is_told_and_never_called_filming(facts: Facts) -> None:
    """A camera that was heard and is silent: what was told stands for two seconds, then it is degraded, after the grace blind."""
    found = decide(facts)
    if facts.camera is None and facts.word is None:
        if facts.silent_s >= BLIND_S:
            assert (found.state, found.reason, found.owner) == ("blind", "camera_silent", "technician")
        elif facts.heard and (facts.silent_s >= TOLD_S or facts.told is None):
            assert (found.state, found.reason, found.owner) == ("degraded", "camera_silent", "technician")
        elif not facts.heard:
            assert (found.state, found.reason) == ("starting", "camera_silent")
        else:
            assert facts.told is not None
            assert (found.state, found.reason) == (facts.told.state, facts.told.reason)
        assert found.services["camera"] == "silent"


@pytest.mark.parametrize("silent_s", [TOLD_S, TOLD_S + 1, BLIND_S - 1])
def test_a_camera_that_filmed_and_is_silent_is_told(silent_s: float) -> None:
    told = State("ready", "filming", NOW, None, "nobody", {})
    found = decide(Facts(NOW, None, None, silent_s, True, None, "ready", told))
    assert (found.state, found.reason, found.owner) == ("degraded", "camera_silent", "technician")


def test_silence_is_told_within_three_seconds() -> None:
    """Asked each second; the question that is not answered ends after `ASK_S`."""
    assert max(1.0 + ASK_S, TOLD_S + ASK_S) <= 3.0


@given(FACTS)
def test_what_the_camera_left_is_the_nodes_reason_and_owner(facts: Facts) -> None:
    if facts.word:
        found = decide(facts)
        assert (found.state, found.reason, found.owner) == ("blind", facts.word.reason, facts.word.owner)


@given(FACTS)
def test_a_camera_that_answers_speaks_for_itself(facts: Facts) -> None:
    """Only a missing or degraded io changes what a filming camera says; rest, blindness and faults pass as they are."""
    camera, io = facts.camera, facts.io
    if camera is None or facts.word is not None:
        return
    found = decide(facts)
    if camera.state == "ready" and (io is None or io.state == "degraded"):
        assert found.state == "degraded"
        assert found.reason == ("io_silent" if io is None else io.reason)
    else:
        assert (found.state, found.reason, found.owner, found.since) == (camera.state, camera.reason, camera.owner, camera.since)


@given(FACTS)
def test_a_state_that_stands_keeps_its_beginning(facts: Facts) -> None:
    """The next decision from the same facts is the same message: no state is told twice."""
    first = decide(facts)
    later = msgspec.structs.replace(facts, told=first, now=NOW + timedelta(seconds=1))
    assert decide(later) == first


def test_each_error_has_its_own_reason_and_owner() -> None:
    """A code that nobody listed would fall to the technician."""
    with_code = RecordError("basis: signature", "", "basis_invalid")
    assert [code_of(one) for one in (with_code, RecordError("x"), ModelError("x"), ConfigError("x"), EnrolmentError("x"))] == [
        "basis_invalid", "records_invalid", "models_invalid", "settings_invalid", "not_enrolled",
    ]  # fmt: skip
    assert code_of(MediaError("no camera")) == code_of(ZeroDivisionError()) == ""
    assert {"basis_revoked", "basis_missing", "basis_invalid"} <= {code for code, owner in OWNERS.items() if owner == "lawyer"}


def test_the_first_code_stays() -> None:
    try:
        with coded("view_invalid"), coded("basis_invalid"):
            raise RecordError("basis: signature")
    except RecordError as problem:
        assert problem.code == "basis_invalid"
