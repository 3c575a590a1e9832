"""Trusted time (R07): synced in this boot, holdover of at most 24 h, a real-time clock, never earlier than the journal."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.clocks import clock_of, floor_of
from agent.runtime.settings_in_force import settings_in_force
from drivers.clock import BEGINNING, RealTimeClock, SystemClock
from privacy.records.journal import Journal, newest, segments
from privacy.records.trusted_time import FRESH_S, HOLDOVER_S, SLACK, ClockReading, TimeWatch
from provisioning.identity import load_signer
from tests.support.site import Site

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
BOOT_S = 100.0


class World:
    """What is true, and a machine whose clock may be wrong by `error` since somebody set it."""

    def __init__(self, floor: datetime = BEGINNING) -> None:
        self.mono_s, self.error, self.mark = BOOT_S, timedelta(), None
        self.synced_s: float | None = None
        self.touched = False
        self.watch = TimeWatch("timesync", floor)

    @property
    def wall(self) -> datetime:
        return NOON + timedelta(seconds=self.mono_s) + self.error

    def sync(self) -> None:
        self.error = timedelta()
        self.mark, self.synced_s, self.touched = self.wall, self.mono_s, False

    def look(self) -> str:
        return self.watch.see(ClockReading(self.mono_s, self.wall, self.mark))


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("runs"), st.floats(0, 2 * HOLDOVER_S)),
        st.tuples(st.just("sync"), st.just(0.0)),
        st.tuples(st.just("set"), st.floats(-1e6, 1e6)),
    ),
    max_size=30,
)


@given(EVENTS)
def test_who_looks_always_is_never_deceived(events: list[tuple[str, float]]) -> None:
    """R07: trusted means right within a minute, at most 24 h of monotonic time after a synchronisation, and never going back."""
    world, newest_s = World(), NOON
    for what, amount in events:
        if what == "runs":
            world.mono_s += amount
        elif what == "sync":
            world.sync()
        else:
            world.error += timedelta(seconds=amount)
        state = world.look()
        age = None if world.synced_s is None else world.mono_s - world.synced_s
        if state != "unknown":
            assert abs(world.error) <= SLACK
            assert age is not None
            assert age <= HOLDOVER_S
            assert (state == "synced") == (age <= FRESH_S)
            assert world.wall >= newest_s - SLACK
            newest_s = max(newest_s, world.wall)
        elif world.error == timedelta() and world.wall >= newest_s:
            assert age is None or age > HOLDOVER_S, "a clock that was synchronised and is not behind is trusted"


@given(st.floats(0, 1e6), st.floats(-1e7, 1e7))
def test_before_the_floor_nothing_is_trusted(ahead: float, error: float) -> None:
    """R07: never earlier than the last journal entry, whoever vouches."""
    floor = NOON + timedelta(seconds=ahead)
    wall = NOON + timedelta(seconds=error)
    for trust in ("timesync", "rtc", "host"):
        state = TimeWatch(trust, floor).see(ClockReading(BOOT_S, wall, wall, wall))  # type: ignore[arg-type]
        assert (state == "unknown") == (wall < floor)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_mark_that_cannot_be_of_this_boot_says_nothing(age: float, uptime: float) -> None:
    state = TimeWatch("timesync", BEGINNING).see(ClockReading(uptime, NOON, NOON - timedelta(seconds=age)))
    possible = -SLACK.total_seconds() <= age <= uptime + SLACK.total_seconds() and age <= HOLDOVER_S
    assert (state != "unknown") == possible


def test_24_hours_are_told_by_the_monotonic_clock() -> None:
    world = World()
    world.sync()
    assert world.look() == "synced"
    for hours, state in ((2, "holdover"), (23.9, "holdover"), (24.1, "unknown")):
        world.mono_s = BOOT_S + hours * 3600
        assert world.look() == state
    world.sync()
    assert world.look() == "synced"


def test_a_clock_that_is_set_by_hand_is_not_trusted_until_the_next_synchronisation() -> None:
    world = World()
    world.sync()
    assert world.look() == "synced"
    world.error = timedelta(hours=1)
    assert world.look() == "unknown"
    world.sync()
    assert world.look() == "synced"


def test_a_clock_that_goes_back_while_running_is_not_trusted_until_it_has_caught_up() -> None:
    watch = TimeWatch("host", BEGINNING)
    assert watch.see(ClockReading(BOOT_S, NOON)) == "synced"
    assert watch.see(ClockReading(BOOT_S + 1, NOON - timedelta(hours=1))) == "unknown"
    assert watch.see(ClockReading(BOOT_S + 3600, NOON)) == "synced"


def test_a_mark_that_is_gone_ends_no_holdover() -> None:
    """systemd removes the folder when timesyncd is started again; a service that sees an old mount sees no mark."""
    world = World()
    world.sync()
    world.look()
    world.mark, world.mono_s = None, BOOT_S + 3600
    assert world.look() == "synced"


@given(st.floats(1e5, 1e9) | st.floats(-1e9, -1e5), st.floats(0, 3600))
def test_a_later_synchronisation_is_no_longer_step_than_a_day(step_s: float, lasts_s: float) -> None:
    """14.C12: one false answer of a time server, years away, opened the lens at wrong hours; the right one is believed again."""
    world = World()
    world.sync()
    assert world.look() == "synced"
    world.mono_s += 600
    world.error = timedelta(seconds=step_s)
    world.mark = world.wall
    assert world.look() == "unknown"
    assert abs(world.watch.likely(world.mono_s, world.wall) - (world.wall - world.error)) < SLACK
    world.mono_s += lasts_s
    assert world.look() == "unknown"
    world.sync()
    assert world.look() == "synced"


@given(st.floats(-1e9, 1e9))
def test_the_first_synchronisation_of_a_boot_may_be_any_step(step_s: float) -> None:
    """A node without a battery wakes in another year; so does one whose battery kept the wrong one."""
    watch = TimeWatch("rtc", BEGINNING - timedelta(days=40000))
    wall = NOON + timedelta(seconds=step_s)
    assert watch.see(ClockReading(BOOT_S, wall, None, wall)) == "holdover"
    now = NOON + timedelta(hours=1)
    assert watch.see(ClockReading(BOOT_S + 60, now, now, wall)) == ("synced" if now >= wall - SLACK else "unknown")


def test_the_next_process_of_a_boot_knows_its_first_time(tmp_path: Path) -> None:
    """14.C12: else whoever lets a service end chooses its time; another boot begins anew."""
    kept = tmp_path / "first-time.json"
    assert SystemClock("host", kept=kept).trusted()
    told = json.loads(kept.read_bytes())
    kept.write_text(json.dumps(told | {"wall": "2040-01-01T00:00:00Z"}))
    clock = SystemClock("host", kept=kept)
    assert not clock.trusted()
    assert clock.now().year == 2040
    for torn in (b"", b"[" * 9000, json.dumps(told | {"boot_id": "another"}).encode()):
        kept.write_bytes(torn)
        assert SystemClock("host", kept=kept).trusted()


@pytest.mark.parametrize(
    ("rtc", "state"),
    [
        (NOON, "holdover"),
        (NOON - timedelta(seconds=50), "holdover"),
        (NOON - timedelta(hours=1), "unknown"),  # the clock was set by something else
        (BEGINNING, "unknown"),  # its battery is empty
        (None, "unknown"),  # it is not fitted
    ],
)
def test_a_real_time_clock_vouches_only_while_it_agrees(rtc: datetime | None, state: str) -> None:
    assert TimeWatch("rtc", NOON - timedelta(days=1)).see(ClockReading(BOOT_S, NOON, None, rtc)) == state
    assert TimeWatch("timesync", NOON - timedelta(days=1)).see(ClockReading(BOOT_S, NOON, None, rtc)) == "unknown"


# -- on the machine ----------------------------------------------------------------------------------------------------


def test_the_mark_of_timesyncd(tmp_path: Path) -> None:
    """Its time of change is the last synchronisation: systemd touches it at each one."""
    mark = tmp_path / "synchronized"
    clock = SystemClock("timesync", mark=mark)
    assert clock.state() == "unknown"
    assert clock.sync_age_s() is None
    mark.touch()
    assert clock.state() == "synced"
    age = clock.sync_age_s()
    assert age is not None
    assert 0 <= age < 60
    old = clock.now().timestamp() - 25 * 3600
    os.utime(mark, (old, old))
    assert SystemClock("timesync", mark=mark).state() == "unknown"


def test_a_real_time_clock_is_asked_once_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "since_epoch"
    clock = RealTimeClock(path)
    assert clock.read(0) is None
    path.write_text(f"{int(NOON.timestamp())}\n")
    assert clock.read(1) is None
    assert clock.read(61) == NOON
    path.write_text("broken\n")
    assert clock.read(71) == NOON + timedelta(seconds=10)
    assert clock.read(200) is None


# -- the floor ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.made(tmp_path)


def entry(site: Site, unit: str, at: datetime) -> None:
    Journal(site.layout.journal(unit), unit, load_signer(site.layout, unit), lambda: at).append("test")  # type: ignore[arg-type]


def test_the_floor_is_the_newest_of_the_last_entries(site: Site) -> None:
    """A boot in 1970 begins a segment of its own and takes the floor nowhere."""
    now = datetime.now(UTC)
    begin = floor_of(site.layout, ["camera"])
    assert now - timedelta(hours=2) < begin < now, "without a journal the certificate's begin"
    later = now + timedelta(days=3)
    entry(site, "camera", later)
    entry(site, "camera", BEGINNING)
    assert floor_of(site.layout, ["camera"]) == later
    assert floor_of(site.layout, ["io"]) < now
    config = settings_in_force(site.layout)
    assert clock_of(site.layout, config, ["camera"]).state() == "unknown"


def test_a_time_that_was_wrong_once_is_forgotten(site: Site) -> None:
    """Else one wrong answer of a time server would keep the lens closed for years."""
    now = datetime.now(UTC).replace(hour=0)
    entry(site, "camera", now + timedelta(days=4000))
    for day in range(8):
        entry(site, "camera", now + timedelta(days=day))
    assert floor_of(site.layout, ["camera"]) == now + timedelta(days=7)


def test_a_torn_last_line_sets_no_floor_and_breaks_nothing(site: Site) -> None:
    now = datetime.now(UTC) + timedelta(days=1)
    entry(site, "camera", now)
    [path] = segments(site.layout.journal("camera"))
    path.write_bytes(path.read_bytes() + b"eyJhbGci")
    assert newest(path.parent, BEGINNING) == now
    path.write_bytes(b"nonsense\n")
    assert newest(path.parent, BEGINNING) < datetime(2, 1, 1, tzinfo=UTC)
