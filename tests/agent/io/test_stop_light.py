"""When the stop's light is lit, when a lamp is dead, what contacts come to: pure rules, for any course of minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.io.help_call import Call, again, lapse
from agent.io.stop_light import SETTLE_MS, LampFacts, LampWatch, lit
from agent.io.switches import FAN_OFF, FAN_ON, HELD_MS, JAMMED_MS, QUIET_MS, Switches, fan_on
from agent.messages import Alarm, Switch, Tamper
from agent.runtime.config import Light
from privacy.records.basis import Hours
from privacy.records.zone import stockholm

EVENING = Light(hours=(Hours((1, 2, 3, 4, 5, 6, 7), "16:00", "01:00"),), presence_s=120)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))
AT = datetime(2026, 11, 26, 12, tzinfo=UTC)


def sight(now: datetime, **facts: Any) -> LampFacts:
    standing: dict[str, Any] = {"trusted": True, "now_ms": 0, "dark": None, "seen_ms": None, "call": False, "forced": None}
    return LampFacts(now=now, **(standing | facts))


@given(MOMENTS)
def test_the_schedule_is_local_time(now: datetime) -> None:
    """Also over both changes of the clock: what counts is what the clock on the wall shows."""
    local = now.astimezone(stockholm())
    assert lit(EVENING, sight(now)) == (local.hour >= 16 or local.hour < 1)


@given(MOMENTS, st.booleans(), st.one_of(st.none(), st.integers(0, 500_000)))
def test_daylight_puts_out_everything_but_a_call_and_ops(now: datetime, trusted: bool, seen: int | None) -> None:
    by_day = {"trusted": trusted, "seen_ms": seen, "now_ms": 500_000, "dark": False}
    assert not lit(EVENING, sight(now, **by_day))
    assert lit(EVENING, sight(now, **by_day, call=True))
    assert lit(EVENING, sight(now, **by_day, forced=True))
    assert not lit(EVENING, sight(now, forced=False, dark=True))


@given(MOMENTS, st.integers(0, 10**6))
def test_presence_lights_for_as_long_as_is_set(now: datetime, since: int) -> None:
    settings = Light(presence_s=120)
    assert lit(settings, sight(now, dark=True, seen_ms=0, now_ms=since)) == (since < 120_000)
    assert not lit(Light(presence_s=0), sight(now, dark=True, seen_ms=since, now_ms=since))


@given(MOMENTS)
def test_unknown_time_is_lit(now: datetime) -> None:
    """A stop that does not know the hour is rather lit than dark; one without hours has none to know."""
    assert lit(EVENING, sight(now, trusted=False))
    assert not lit(Light(), sight(now, trusted=False))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 3000)), max_size=40))
def test_a_dead_lamp_is_told_once_and_only_after_it_had_its_time(course: list[tuple[bool, bool, int]]) -> None:
    watch, now, changes, dark_ms = LampWatch(), 0, [], 0
    for on, current, step in course:
        now += step
        dark_ms = 0 if not on or current else dark_ms + step
        if change := watch.see(on, current, now):
            changes.append(change)
            assert on
            assert (change == "mended") == current
            assert change == "mended" or dark_ms >= SETTLE_MS
    assert changes == ["fault", "mended"] * (len(changes) // 2) + ["fault"] * (len(changes) % 2)


@given(st.integers(0, 2**40), st.booleans())
def test_a_call_ends_by_itself(pressed_ms: int, taken: bool) -> None:
    """By the sign's words: the lamp blinks for a minute after a press that nobody took; taken, it stands for five. No longer."""
    call = Call("p", pressed_ms, taken)
    stands, end = (300_000, "over") if taken else (60_000, "unanswered")
    assert [lapse(call, pressed_ms + age) for age in (0, stands, stands + 1, 9 * stands)] == ["", "", end, end]
    assert call.lamp == ("steady" if taken else "blinking")


def test_a_press_is_part_of_a_call_that_nobody_took() -> None:
    assert again(Call("p", 0))
    assert not again(Call("p", 0, taken=True))
    assert not again(None)


@given(st.lists(st.one_of(st.none(), st.floats(-40, 120)), max_size=60))
def test_the_fan_keeps_its_mind_between_the_two_limits(course: list[float | None]) -> None:
    on = False
    for celsius in course:
        before, on = on, fan_on(on, celsius)
        if celsius is None or celsius >= FAN_ON:
            assert on
        elif celsius <= FAN_OFF:
            assert not on
        else:
            assert on == before


class Heard:
    def __init__(self) -> None:
        self.said: list[Any] = []
        self.cleared: list[str] = []
        self.switches = Switches(lambda *bodies: self.said.extend(bodies), self.cleared.append)


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=40))
def test_motion_is_one_event_and_not_a_stream(pauses: list[int]) -> None:
    """Begun once, over once it was quiet for a minute, however often the sensor closes."""
    heard, now = Heard(), 0
    for pause in pauses:
        for moment in range(now, now + pause, 10_000):
            heard.switches.tick(moment)
        now += pause
        heard.switches.tick(now)
        heard.switches.changed("motion", True, now, AT)
        heard.switches.changed("motion", False, now, AT)
    heard.switches.tick(now + QUIET_MS)
    quiet = 1 + sum(pause >= QUIET_MS for pause in pauses[1:])
    assert heard.said == [Switch("motion", "begun"), Switch("motion", "over")] * quiet


def test_a_case_that_was_opened_is_tamper_until_it_is_shut() -> None:
    heard = Heard()
    heard.switches.changed("tamper", False, 0, AT)
    assert heard.said == [Tamper("case", "found", AT), Alarm("case", "open", "")]
    heard.switches.changed("tamper", True, 5_000, AT + timedelta(seconds=5))
    assert heard.said[-1] == Tamper("case", "over", AT + timedelta(seconds=5))
    assert heard.cleared == ["alarm/case"]


def test_the_service_button_is_held_once_each_time() -> None:
    """A short press does nothing, and a long one counts once."""
    heard = Heard()
    heard.switches.changed("service_button", True, 0, AT)
    assert not heard.switches.tick(HELD_MS - 1)
    heard.switches.changed("service_button", False, HELD_MS - 1, AT)
    assert not heard.switches.tick(HELD_MS)
    heard.switches.changed("service_button", True, 10_000, AT)
    assert [heard.switches.tick(10_000 + HELD_MS + more) for more in (0, 500, 60_000)] == [True, False, False]


def test_a_jammed_help_button_is_an_alarm() -> None:
    heard = Heard()
    heard.switches.changed("help_button", True, 0, AT)
    heard.switches.tick(JAMMED_MS - 1)
    assert not heard.switches.jammed
    heard.switches.tick(JAMMED_MS)
    heard.switches.tick(JAMMED_MS + 500)
    assert heard.said == [Alarm("help_button", "jammed", "")]
    heard.switches.changed("help_button", False, JAMMED_MS + 600, AT)
    heard.switches.tick(JAMMED_MS + 700)
    assert heard.cleared == ["alarm/help_button"]
