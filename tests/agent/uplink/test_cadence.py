"""When a health group is sent, and the hour's statistics: facts in, decision out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.messages import Health, HealthGroup, State
from agent.runtime.routes import routes
from agent.runtime.status import CameraStatus, IoStatus, UplinkStatus
from agent.statistics import HourStats, PeopleClass
from agent.uplink.health.cadence import EVERY_S, LEAST_S, Sent, due
from agent.uplink.health.groups import Groups, collect
from agent.uplink.health.hour import HOUR_S, HourTally, Sample, band, sample_of
from agent.uplink.health.readings import ClockReadings, Machine

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def groups(temperature: float = 40.0, trusted: int = 1, **camera: object) -> Groups:
    """A node's groups, with a clock that is trusted or not."""
    found = collect({"camera": CameraStatus(**camera), "io": IoStatus(), "uplink": UplinkStatus(connected=True)}, ())  # type: ignore[arg-type]
    found["system"].put("temperature_c", routes(Machine)["temperature_c"], temperature)
    found["clock"].put("trusted", routes(ClockReadings)["trusted"], trusted)
    return found


def sent(found: Groups, at_s: float) -> dict[HealthGroup, Sent]:
    return {name: Sent(at_s, group.message(name)) for name, group in found.items()}


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 2 * EVERY_S))
def test_only_what_changed_significantly_is_sent_between_the_five_minutes(before: float, now: float, passed: float) -> None:
    found = due(groups(now), sent(groups(before), 0.0), passed, 0.0)
    if passed >= EVERY_S:
        assert found == list(groups())
    else:
        assert found == (["system"] if passed >= LEAST_S and abs(now - before) >= 5 else [])


def test_masks_make_no_message_whatever_they_do() -> None:
    """R44: the time of a message must not tell when somebody came."""
    before = groups(mask_coverage=0.0, full_share=0.0, look_ms=50.0)
    after = groups(mask_coverage=1.0, full_share=1.0, full_share_by_cause={"crowd": 1.0}, look_ms=50.0)
    assert due(after, sent(before, 0.0), EVERY_S - 1, 0.0) == []


def test_a_value_that_disappears_is_told() -> None:
    """A camera that answers no more, one that moved, a link on another interface."""
    before = sent(groups(view="as_known", gain=1.0), 0.0)
    gone = collect({"io": IoStatus(), "uplink": UplinkStatus(connected=True)}, ())
    assert "camera" in due(gone, before, LEAST_S, 0.0)
    assert due(groups(view="moved", gain=1.0), before, LEAST_S, 0.0) == ["camera"]


def test_a_node_without_trusted_time_says_its_own_each_minute() -> None:
    """A command from the centre names the node's time since boot, and waits 75 s for a message that says it."""
    assert due(groups(trusted=0), sent(groups(trusted=0), 0.0), LEAST_S, 0.0) == ["clock"]
    assert due(groups(trusted=1), sent(groups(trusted=1), 0.0), LEAST_S, 0.0) == []


@given(st.lists(st.floats(0, 200), min_size=1, max_size=200))
def test_no_group_is_sent_more_often_than_each_minute(temperatures: list[float]) -> None:
    """Before, each was sent each minute: a flapping value costs no more than that."""
    last: dict[HealthGroup, Sent] = {}
    all_s, times = 0.0, list[float]()
    for number, temperature in enumerate(temperatures):
        now_s, found = 1000.0 + number * 15, groups(temperature)
        names = due(found, last, now_s, all_s)
        all_s = now_s if len(names) == len(found) else all_s
        last |= {name: Sent(now_s, found[name].message(name)) for name in names}
        times += [now_s] * ("system" in names)
    # All are sent together each five minutes, which may follow a single one at once.
    assert len(times) <= 1 + (times[-1] - times[0]) / LEAST_S + (times[-1] - times[0]) / EVERY_S


def test_a_message_without_words_is_still_read() -> None:
    assert Health("link", {"connected": 1}, {}).words == {}


# -- the hour ----------------------------------------------------------------------------------------------------------


def hour_of(*spans: tuple[float, Sample]) -> HourStats:
    """The message about an hour from noon, with samples each second of each span (seconds, sample)."""
    tally, second = HourTally(), 0.0
    tally.see(NOON, second, spans[0][1])
    for length, sample in spans:
        for _ in range(round(length)):
            second += 1
            assert tally.see(NOON + timedelta(seconds=min(second, HOUR_S - 1)), second, sample) is None
    said = tally.see(NOON + timedelta(seconds=HOUR_S), second + 1, spans[-1][1])
    assert said is not None
    return said


def test_an_hour_in_bands() -> None:
    filming = Sample("few", "filming", True, True, 4)
    empty = Sample("none", "filming", False, True, 4)
    said = hour_of((600, filming), (2999, empty))
    assert said.hour == NOON
    assert said.presence == {"none": "most", "few": "little", "some": "none", "crowd": "none"}
    assert (said.light, said.help) == ("little", "none")
    assert said.availability == {"filming": "all", "resting": "none", "blind": "none"}
    assert set(said.unknown.values()) == {"none"}


def test_what_is_not_known_is_said_and_is_in_no_share() -> None:
    """Half an hour without an answer of camera and io; a stop without a light misses none."""
    known, silent = Sample("none", "filming", None, False, 1), Sample()
    said = hour_of((1800, known), (1799, silent))
    assert said.unknown == {"presence": "half", "light": "none", "help": "half", "availability": "half"}
    assert said.presence["none"] == said.availability["filming"] == "half"
    assert said.light == "not_fitted"


def test_presses_are_counted_over_a_restart_of_io() -> None:
    said = hour_of((100, Sample(presses=5)), (100, Sample(presses=6)), (3399, Sample(presses=1)))
    assert said.help == "few"


@given(st.floats(0, 1), st.floats(0, 1))
def test_bands_are_in_order(one: float, other: float) -> None:
    order = ["none", "little", "half", "most", "all"]
    assert (order.index(band(one)) <= order.index(band(other))) or one > other
    assert (band(one) == "none") == (one == 0)


@given(st.lists(st.tuples(st.integers(1, 400), st.sampled_from(["", "none", "few", "some", "crowd"])), max_size=60))
def test_shares_and_what_is_unknown_cover_the_hour(spans: list[tuple[int, str]]) -> None:
    """By the lower ends of the bands: together they are never more than an hour."""
    least = {"none": 0.0, "little": 0.0, "half": 0.25, "most": 0.75, "all": 0.99}
    tally, second = HourTally(), 0.0
    told = []
    for length, people in spans:
        second += length
        told.append(tally.see(NOON + timedelta(seconds=second), second, Sample(people)))
    for said in filter(None, told):
        assert sum(least[one] for one in (*said.presence.values(), said.unknown["presence"])) <= 1.0
        assert said.presence.keys() == set(get_args(PeopleClass))


@pytest.mark.parametrize(
    ("state", "reason", "available", "people"),
    [
        ("ready", "filming", "filming", "few"),
        ("degraded", "disk_full", "filming", "few"),
        ("degraded", "camera_silent", "blind", ""),
        ("degraded", "too_dark", "blind", ""),
        ("blind", "no_camera", "blind", ""),
        ("off", "outside_hours", "resting", ""),
        ("starting", "camera_silent", "", ""),
    ],
)
def test_a_node_that_sees_nobody_does_not_say_that_nobody_is_there(state: str, reason: str, available: str, people: str) -> None:
    told = State(state, reason, None, None, "nobody", {})  # type: ignore[arg-type]
    detail = {"camera": CameraStatus(people="few"), "io": IoStatus(parts={"light": "steady"}, presses=3)}
    assert sample_of(told, detail) == Sample(people, available, True, True, 3)
