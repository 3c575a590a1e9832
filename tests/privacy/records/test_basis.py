"""When the lens may be open, and which records may say so. The oracle reads a wall clock; the code counts in UTC."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privacy.errors import RecordError
from privacy.records.basis import Area, Basis, Hours, Permit, Ruling, View, check_records, deadline, rule
from tests.support.records import ANY_TIME, AREA, BASIS, VIEW

LOCAL = ZoneInfo("Europe/Stockholm")
FORWARD, BACK = date(2026, 3, 29), date(2026, 10, 25)
DAY = timedelta(days=1)


def basis(**changes: Any) -> Basis:
    return msgspec.structs.replace(BASIS, **changes)


def assessed(*hours: tuple[set[int], str, str]) -> Basis:
    return basis(hours=tuple(Hours(tuple(sorted(days)), begin, end) for days, begin, end in hours))


def local(day: date, clock: str, fold: int = 0) -> datetime:
    hour, minute = map(int, clock.split(":"))
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=LOCAL, fold=fold).astimezone(UTC)


def on_the_wall(hours: Hours, now: datetime) -> bool:
    """What somebody with a wall clock and the assessment in hand would say, in words of that clock only."""
    seen = now.astimezone(LOCAL)
    clock, today, yesterday = seen.strftime("%H:%M"), seen.isoweekday(), (seen - DAY).isoweekday()
    if hours.begin < hours.end:
        return today in hours.days and hours.begin <= clock < hours.end
    return (today in hours.days and clock >= hours.begin) or (yesterday in hours.days and clock < hours.end)


CLOCK = st.integers(0, 24 * 60 - 1).map(lambda n: f"{n // 60:02}:{n % 60:02}")
DAYS = st.sets(st.integers(1, 7), max_size=7).map(lambda days: tuple(sorted(days)))
SPAN = st.tuples(CLOCK, CLOCK | st.just("24:00")).filter(lambda span: span[0] != span[1])
HOURS = st.builds(lambda days, span: Hours(days, *span), DAYS, SPAN)
NEAR_CHANGE = st.builds(
    lambda day, minutes: datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes),
    st.sampled_from([FORWARD, BACK]),
    st.integers(-24 * 60, 48 * 60),
)


@settings(max_examples=600)
@example([Hours((6,), "22:00", "02:30")], local(FORWARD, "03:15"))  # the clock never shows 02:30 that night
@example([Hours((7,), "02:30", "05:00")], local(BACK, "02:10", fold=1))  # it shows 02:10 before and after 02:30
@example([Hours((7,), "01:00", "02:30")], local(BACK, "02:10", fold=1))
@given(st.lists(HOURS, max_size=3), ANY_TIME | NEAR_CHANGE)
def test_never_open_outside_the_assessed_hours(hours: list[Hours], now: datetime) -> None:
    """R07: also over midnight, also in the nights when the clock changes."""
    ruling = rule(basis(hours=tuple(hours)), now, trusted_time=True)
    if ruling.open:
        assert any(on_the_wall(span, now) for span in hours)
        assert BASIS.begin <= now < BASIS.end


@settings(max_examples=400)
@given(st.lists(HOURS, max_size=3), ANY_TIME)
def test_open_in_the_assessed_hours(hours: list[Hours], now: datetime) -> None:
    """R07: the other half, away from the clock's changes: what was assessed is filmed."""
    nearby = {now.astimezone(LOCAL).date() + n * DAY for n in (-1, 0, 1)}
    if BASIS.begin <= now < BASIS.end and not nearby & {FORWARD, BACK}:
        ruling = rule(basis(hours=tuple(hours)), now, trusted_time=True)
        assert ruling.open == any(on_the_wall(span, now) for span in hours)


@settings(max_examples=300)
@given(st.lists(HOURS, max_size=2), ANY_TIME | NEAR_CHANGE, st.floats(0, 1, exclude_max=True))
def test_a_ruling_holds_until_the_moment_it_names(hours: list[Hours], now: datetime, share: float) -> None:
    """The camera trusts `until`: nothing changes before it, and a closed lens opens at it."""
    record = basis(hours=tuple(hours))
    ruling = rule(record, now, trusted_time=True)
    if ruling.until is None:
        assert not ruling.open
        return
    assert now < ruling.until
    between = min(now + (ruling.until - now) * share, ruling.until - timedelta.resolution)
    assert rule(record, between, trusted_time=True).open == ruling.open
    if ruling.reason != "basis_not_yet" and ruling.until < record.end:
        assert rule(record, ruling.until, trusted_time=True).open != ruling.open, "14.F21: an open lens is not open at its end"


@settings(max_examples=300)
@given(st.sets(CLOCK, min_size=1, max_size=5), ANY_TIME | NEAR_CHANGE)
def test_a_day_cut_into_windows_ends_with_the_basis(cuts: set[str], now: datetime) -> None:
    """14.F21: hours that adjoin have a common end, over midnight, over weeks and where the clock is put forward or back."""
    marks = ["00:00", *sorted(cuts - {"00:00"}), "24:00"]
    record = assessed(*(({1, 2, 3, 4, 5, 6, 7}, begin, end) for begin, end in pairwise(marks)))
    if BASIS.begin <= now < BASIS.end:
        assert rule(record, now, True) == Ruling(True, "assessed_hours", BASIS.end)


@pytest.mark.parametrize("day", [FORWARD, BACK, date(2026, 6, 1)], ids=["clock forward", "clock back", "ordinary"])
@pytest.mark.parametrize("cut", ["24:00", "01:30", "02:00", "02:30", "03:00"])
def test_adjoining_windows_have_one_end(day: date, cut: str) -> None:
    """14.F21: a night written as two windows ends in the morning, also where the clock skips or repeats what parts them."""
    every = {1, 2, 3, 4, 5, 6, 7}
    second = "00:00" if cut == "24:00" else cut
    record = assessed((every, "22:00", cut), (every, second, "06:00"))
    begin, end = local(day - DAY, "22:00"), local(day, "06:00")
    for now in (begin, begin + timedelta(hours=3), begin + timedelta(hours=4, minutes=30), end - timedelta(seconds=1)):
        assert rule(record, now, True) == Ruling(True, "assessed_hours", end)


def test_five_days_and_nights_end_on_friday() -> None:
    """14.F21"""
    record = assessed(({1, 2, 3, 4, 5}, "00:00", "24:00"))
    assert rule(record, local(date(2026, 6, 1), "00:00"), True).until == local(date(2026, 6, 6), "00:00")


@given(ANY_TIME)
def test_unknown_time_closes(now: datetime) -> None:
    """R07"""
    always = assessed(({1, 2, 3, 4, 5, 6, 7}, "00:00", "24:00"))
    ruling = rule(always, now, trusted_time=False)
    assert (ruling.open, ruling.reason, ruling.until) == (False, "time_unknown", None)


@given(ANY_TIME)
def test_whole_days_leave_no_gap_at_midnight(now: datetime) -> None:
    always = assessed(({1, 2, 3, 4, 5, 6, 7}, "00:00", "24:00"))
    assert rule(always, now, trusted_time=True).open == (BASIS.begin <= now < BASIS.end)


def test_before_and_after_the_basis() -> None:
    """R01: an expired basis closes, to the second, though its hours go on."""
    always = assessed(({1, 2, 3, 4, 5, 6, 7}, "00:00", "24:00"))
    second = timedelta(seconds=1)
    early, first, last, late = (
        rule(always, moment, True) for moment in (BASIS.begin - second, BASIS.begin, BASIS.end - second, BASIS.end)
    )
    assert (early.open, early.reason, early.until) == (False, "basis_not_yet", BASIS.begin)
    assert first.open
    assert (last.open, last.until) == (True, BASIS.end)
    assert (late.open, late.reason, late.until) == (False, "basis_expired", None)


@pytest.mark.parametrize(
    ("day", "hours"), [(FORWARD, 11), (BACK, 13), (date(2026, 6, 1), 12)], ids=["clock forward", "clock back", "ordinary"]
)
def test_a_night_has_the_hours_of_that_night(day: date, hours: int) -> None:
    """R07: 18:00 to 06:00 is 18:00 to 06:00 on the wall, whatever lies between."""
    begin, end = local(day - DAY, "18:00"), local(day, "06:00")
    assert end - begin == timedelta(hours=hours)
    ruling = rule(BASIS, begin, True)
    assert (ruling.open, ruling.until) == (True, end)
    assert not rule(BASIS, begin - timedelta(seconds=1), True).open
    assert not rule(BASIS, end, True).open


def test_a_friday_night_ends_on_saturday() -> None:
    """The day of a span is the day on which it begins."""
    friday = date(2026, 6, 5)
    record = assessed(({5}, "20:00", "03:00"))
    assert not rule(record, local(friday, "02:00"), True).open
    assert rule(record, local(friday, "20:00"), True).open
    assert rule(record, local(friday + DAY, "02:59"), True).open
    assert not rule(record, local(friday + DAY, "20:00"), True).open
    assert rule(record, local(friday + DAY, "03:00"), True).until == local(friday + 7 * DAY, "20:00")


def test_no_hours_never_open() -> None:
    ruling = rule(basis(hours=()), datetime(2026, 6, 1, tzinfo=UTC), True)
    assert (ruling.open, ruling.reason, ruling.until) == (False, "outside_hours", None)


@given(st.integers(1, 24 * 60), ANY_TIME)
def test_a_clip_has_the_assessed_hours(hours: int, ended: datetime) -> None:
    """R27"""
    assert deadline(basis(retention_hours=hours), ended) - ended == timedelta(hours=hours)


# -- which records ----------------------------------------------------------------------------------------------------


def permit(record: Basis = BASIS, view: View = VIEW, **asked: Any) -> Permit:
    wanted = {"site": "city", "node": "stop-1", "profile": "standard", "stack": "yolox-nano+yunet"} | asked
    return check_records(record, view, **wanted)


def drawn(**changes: Any) -> View:
    return msgspec.structs.replace(VIEW, **changes)


def area(**changes: Any) -> Area:
    return msgspec.structs.replace(AREA, **changes)


def test_records_that_fit_are_a_permit() -> None:
    assert permit() == Permit(BASIS, VIEW)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param({"site": "other"}, "basis: site/node: is for city/stop-1", id="R01 another site's node"),
        pytest.param({"node": "stop-2"}, "basis: site/node: is for city/stop-1", id="R01 another node"),
        pytest.param({"view": drawn(node="stop-2")}, "view: site/node: is for city/stop-2", id="R01 another node's view"),
        pytest.param({"view": drawn(basis="basis-0")}, "view: basis: drawn for basis basis-0", id="R01 a view of an older basis"),
        pytest.param({"view": drawn(areas=(AREA, area(kind="path")))}, "does not permit a path", id="R03 a path with 11 § 5 b"),
        pytest.param({"record": basis(stop=" ")}, "needs the id of a stop", id="R02 no stop id"),
        pytest.param({"record": basis(least_profile="strict")}, "basis_mismatch: profile: standard", id="R04 weaker mask"),
        pytest.param({"record": basis(least_profile="full"), "profile": "strict"}, "basis_mismatch", id="R04 weaker than full"),
        pytest.param({"stack": "nanodet-g+centerface"}, "stacks: nanodet-g", id="R05 a stack nobody assessed"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        permit(**wrong)
    assert caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("profile", ["standard", "strict", "full"])
def test_a_stronger_mask_is_allowed(profile: str) -> None:
    """R04"""
    assert permit(profile=profile).basis is BASIS


def test_a_path_may_stand_on_an_assessment() -> None:
    """R03: and needs no stop id then."""
    path = drawn(areas=(area(kind="path", paragraph="KBL8-9"),))
    assert permit(record=basis(stop=""), view=path).view is path


def plain(record: Basis | View) -> dict[str, Any]:
    return dict(json.loads(msgspec.json.encode(record)))


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


AREA_JSON = plain(VIEW)["areas"][0]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        pytest.param(plain(BASIS) | {"type": "tillstand"}, "Invalid enum value 'tillstand'", id="R03 a permit"),
        pytest.param(plain(BASIS) | {"purpose": "statistics"}, "Invalid enum value", id="R02 a purpose the law does not name"),
        pytest.param(plain(BASIS) | {"least_profile": "none"}, "Invalid enum value", id="R04 no mask"),
        pytest.param(without(plain(BASIS), "retention_hours"), "retention_hours", id="R27 no retention"),
        pytest.param(plain(BASIS) | {"retention_hours": 0}, ">= 1", id="R27 no time to keep"),
        pytest.param(plain(BASIS) | {"end": "2026-12-31T00:00:00"}, "timezone", id="R07 an end without zone"),
        pytest.param(plain(BASIS) | {"hours": [{"days": [0], "begin": "1", "end": "2"}]}, "hours", id="R07 a day that is none"),
        pytest.param(plain(BASIS) | {"hours": [{"days": [1], "begin": "6:00", "end": "25:00"}]}, "regex", id="R07 no clock"),
        pytest.param(
            plain(BASIS) | {"hours": [{"days": [1], "begin": "08:00", "end": "08:00"}]}, "same", id="R07 nothing or a whole day"
        ),
        pytest.param(plain(BASIS) | {"site": "../etc"}, "regex", id="a path as site"),
        pytest.param(plain(BASIS) | {"audio": True}, "unknown field", id="what nobody assessed"),
    ],
)
def test_a_basis_that_is_none_is_not_read(record: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(record, Basis)


@pytest.mark.parametrize(
    ("area_json", "said"),
    [
        pytest.param(without(AREA_JSON, "workplace"), "workplace", id="R12 no flag"),
        pytest.param(AREA_JSON | {"workplace": None}, "bool", id="R12 no answer"),
        pytest.param(without(AREA_JSON, "paragraph"), "paragraph", id="R02 no paragraph"),
        pytest.param(AREA_JSON | {"paragraph": "KBL7"}, "Invalid enum", id="R02 another paragraph"),
        pytest.param(AREA_JSON | {"polygon": [[0, 0], [1, 1]]}, "length >= 3", id="R02 a line"),
        pytest.param(AREA_JSON | {"polygon": [[0, 0], [1, 1], [0, 1.01]]}, "<= 1", id="R02 outside the picture"),
    ],
)
def test_a_view_that_is_none_is_not_read(area_json: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(plain(VIEW) | {"areas": [area_json]}, View)


def test_a_view_without_areas_is_not_read() -> None:
    """R02: nothing of the picture would stand on any paragraph."""
    with pytest.raises(msgspec.ValidationError, match="length >= 1"):
        msgspec.convert(plain(VIEW) | {"areas": []}, View)
