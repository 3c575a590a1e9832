"""What is uploaded, when and how fast: the pure policy, by properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.config import parse
from agent.runtime.hours import in_hours
from agent.uplink.upload.budget import Budget
from agent.uplink.upload.parts import BLOCK
from agent.uplink.upload.policy import (
    DAY_S,
    Rank,
    Rate,
    Reading,
    Spent,
    back_off_s,
    charge,
    rank_of_clip,
    settle,
    wait_s,
)
from drivers.clock import SystemClock
from privacy.errors import ConfigError, StorageError
from privacy.records.basis import Hours
from privacy.records.zone import stockholm
from tests.support.settings import GOOD

WEEK = (1, 2, 3, 4, 5, 6, 7)
PER_DAY = 50_000_000
PART = 5 << 20


# -- rank --------------------------------------------------------------------------------------------------------------


@given(st.sampled_from(["events", "help", "all", "nothing"]), st.sampled_from(["help", "presence", "tamper", "routine", "damaged"]))
def test_an_exported_clip_is_always_wanted_and_help_is_always_first(what: str, trigger: str) -> None:
    """Design: `upload`; an export that was ordered leaves whatever the operator chose."""
    plain, exported = (rank_of_clip(trigger, one, what) for one in (False, True))  # type: ignore[arg-type]
    assert exported is not None
    assert plain is None or exported <= plain
    assert (exported is Rank.HELP) == (trigger == "help")
    assert (plain is not None) == {
        "events": trigger != "routine",
        "help": trigger == "help",
        "all": True,
        "nothing": False,
    }[what]


def test_only_what_somebody_waits_for_is_urgent() -> None:
    assert [rank for rank in sorted(Rank) if rank.urgent] == [Rank.HELP, Rank.HANDED_IN]


# -- hours -------------------------------------------------------------------------------------------------------------

clocks = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
moments = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
days = st.sets(st.integers(1, 7), min_size=1).map(tuple)


@given(days, clocks, clocks, moments)
def test_hours_are_what_a_clock_on_the_wall_shows(days: tuple[int, ...], begin: str, end: str, now: datetime) -> None:
    """Minute by minute from each begin, by the local clock: an independent reading of the same words."""
    if begin == end:
        return
    local = now.astimezone(stockholm()).replace(tzinfo=None)
    expected = False
    for back in (0, 1):
        day = (local - timedelta(days=back)).date()
        opens = datetime.combine(day, datetime.strptime(begin, "%H:%M").time())
        closes = datetime.combine(day, datetime.strptime(end, "%H:%M").time())
        closes += timedelta(days=1) if closes <= opens else timedelta()
        expected |= day.isoweekday() in days and opens <= local < closes
    assert in_hours((Hours(days, begin, end),), now) == expected


def test_no_hours_are_all_hours_and_midnight_is_2400() -> None:
    noon = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
    assert in_hours((), noon)
    assert in_hours((Hours(WEEK, "00:00", "24:00"),), noon)
    assert not in_hours((Hours(WEEK, "12:01", "24:00"),), noon)


# -- rate --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 100_000), st.lists(st.tuples(st.integers(1, BLOCK), st.floats(0, 5)), max_size=60))
def test_the_rate_holds_over_any_stretch(kbit_s: int, blocks: list[tuple[int, float]]) -> None:
    """Whatever the pauses between: after t seconds at most one block more has left than the rate allows."""
    rate, now, sent = Rate(kbit_s), 1000.0, 0
    for size, idle in blocks:
        now += idle
        now += rate.pause_s(size, now)
        assert sent <= kbit_s * 125 * (now - 1000.0) + 1
        sent += size


def test_no_rate_is_no_pause() -> None:
    assert not Rate(0).pause_s(1 << 40, 5.0)
    assert not Rate(0).pause_s(1, 5.0)


# -- budget ------------------------------------------------------------------------------------------------------------

jumps = st.floats(-1e9, 1e9)
steps = st.lists(st.tuples(st.floats(0, 2 * DAY_S), st.none() | jumps, st.integers(1, PART), st.booleans()), max_size=60)


@given(steps)
def test_no_clock_makes_a_budget_endless_while_the_power_is_on(steps: list[tuple[float, float | None, int, bool]]) -> None:
    """In one boot, with the wall clock stepping anywhere at any time: a budget, and one more for each day that has passed."""
    now_s, sent = 0.0, 0
    spent = Spent(0.0, 0.0, "boot", 0)
    for passed, wall, size, urgent in steps:
        now_s += passed
        spent = settle(spent, Reading(wall, "boot", int(now_s * 1000)), PER_DAY)
        if urgent or wait_s(spent, size, PER_DAY) == 0:
            spent = charge(spent, size, PER_DAY, urgent=urgent)
            sent += 0 if urgent else size
        assert sent <= PER_DAY * (1 + now_s / DAY_S) + 1


@given(st.lists(st.none() | st.floats(0, 2 * DAY_S), max_size=60))
def test_no_reboot_gives_back_more_than_a_trusted_clock_has_moved_on(boots: list[float | None]) -> None:
    """Each step is a boot; the clock comes up anywhere in two days, trusted or not, and a part is sent if it may be."""
    spent, sent, latest, per_day = Spent(0.0, 0.0, "first", 0), 0, 0.0, 2 * PART
    for number, wall in enumerate(boots):
        spent = settle(spent, Reading(wall, f"boot-{number}", 10), per_day)
        latest = max(latest, wall or 0.0)
        if wait_s(spent, PART, per_day) == 0:
            spent, sent = charge(spent, PART, per_day, urgent=False), sent + PART
        assert sent <= per_day * (1 + latest / DAY_S) + 1


@given(st.floats(0, 2 * PER_DAY), st.integers(1, PART), st.sampled_from([1_000_000, PER_DAY]))
def test_who_waits_as_long_as_told_may_send(bytes_: float, size: int, per_day: int) -> None:
    """Also what is larger than the whole budget leaves one day, and its rest counts on."""
    spent = Spent(bytes_, 0.0, "boot", 0)
    later = settle(spent, Reading(None, "boot", int(wait_s(spent, size, per_day) * 1000) + 1000), per_day)
    assert wait_s(later, size, per_day) < 1.0


@given(st.floats(0, 2 * PER_DAY), st.lists(st.integers(1, PART), max_size=30))
def test_help_uses_up_the_budget_but_leaves_no_debt(bytes_: float, sizes: list[int]) -> None:
    spent = Spent(bytes_, 0.0, "boot", 0)
    for size in sizes:
        spent = charge(spent, size, PER_DAY, urgent=True)
    assert spent.bytes == pytest.approx(max(bytes_, min(PER_DAY, bytes_ + sum(sizes))))


def test_what_did_not_leave_is_given_back_and_the_count_survives_a_restart(tmp_path: Path) -> None:
    trouble: list[StorageError] = []
    path = tmp_path / "uplink" / "spent.json"

    def opened() -> Budget:
        return Budget(path, 1, SystemClock("host"), trouble.append)

    first = opened()
    first.spend(900_000, urgent=False)
    assert opened().wait_s(200_000) > 0
    first.spend(-400_000, urgent=False)
    assert opened().wait_s(200_000) == 0
    assert msgspec.json.decode(path.read_bytes(), type=Spent).bytes == pytest.approx(500_000, abs=2000)
    path.write_bytes(b"torn")
    assert opened().wait_s(1000) > 0, "what cannot be read counts as all spent"
    assert trouble == []


def test_a_disk_that_does_not_take_the_count_is_told_and_it_counts_all_the_same(tmp_path: Path) -> None:
    trouble: list[StorageError] = []
    (tmp_path / "uplink").write_text("a file where a folder should be")
    budget = Budget(tmp_path / "uplink/spent.json", 1, SystemClock("host"), trouble.append)
    budget.spend(900_000, urgent=False)
    assert budget.wait_s(200_000) > 0
    assert "spent.json" in str(trouble[0])


# -- back-off ----------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 1))
def test_pauses_grow_to_a_bound_and_are_never_in_step(chance: float, other: float) -> None:
    """Each is twice the one before, from a second or two up to half a minute or a whole one, for ever; and of two nodes that
    failed together each waits for a time of its own: as far apart as their chances are, up to half the pause."""
    longest = [2.0, 4.0, 8.0, 16.0, 32.0, *[60.0] * 20]
    counts = range(1, len(longest) + 1)
    pauses = [back_off_s(failures, chance) for failures in counts]
    assert pauses == pytest.approx([most / 2 * (1 + chance) for most in longest])
    apart = [abs(back_off_s(failures, other) - pause) for failures, pause in zip(counts, pauses, strict=True)]
    assert apart == pytest.approx([most / 2 * abs(chance - other) for most in longest])
    assert 30 <= back_off_s(10_000, chance) <= 60


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('what = "everything"', "upload.what: "),
        ("kbit_s = -1", "upload.kbit_s: .*got -1"),
        ("zip = true", "upload.zip: unknown key"),
        ('hours = [{ days = [8], begin = "01:00", end = "02:00" }]', r"upload.hours.0.days.0: .*got 8"),
        ('hours = [{ days = [1], begin = "25:00", end = "02:00" }]', r"upload.hours.0.begin: .*got '25:00'"),
        ('hours = [{ days = [1], begin = "02:00", end = "02:00" }]', "begin and end are the same"),
    ],
)
def test_a_bad_upload_setting_names_field_rule_and_value(lines: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(f"{GOOD}[upload]\n{lines}\n")


def test_the_default_is_events_at_any_time_without_limits() -> None:
    upload = parse(GOOD).upload
    assert (upload.what, upload.hours, upload.kbit_s, upload.budget_mb_day) == ("events", (), 0, 0)
