"""R28 under any clock: whatever jumps, reboots and power cuts come, nothing is kept too long and nothing honest goes early."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.records.jws import canonical
from privacy.records.retention import (
    BOOTS,
    PROTECTED_EVERY,
    SAVE_MS,
    UNKNOWN_MS,
    Instant,
    Kept,
    Odometer,
    drop_order,
    expired,
    protected,
    read_odometer,
)

BEGIN = datetime(2026, 3, 27, 12, tzinfo=UTC)
RETENTION = timedelta(hours=72)
MINUTE = 60_000


@dataclass
class World:
    """One node in real time, which it cannot see, and what it believes. One clip, recorded at the beginning.

    real_ms, powered_ms   since the clip; the monotonic clock runs with the power on, asleep or not
    wrong                 what the wall clock is off by
    """

    boots: int = 0
    real_ms: int = 0
    powered_ms: int = 0
    mono_ms: int = MINUTE
    wrong: timedelta = timedelta()
    trusted: bool = True
    lied: bool = False
    since_save: int = 0
    odometer: Odometer = field(default_factory=Odometer)
    saved: Odometer = field(default_factory=Odometer)
    gone: str = ""
    highest: datetime = BEGIN
    waited_ms: int = 0

    def __post_init__(self) -> None:
        self.kept = Kept("c", "presence", 1, BEGIN, BEGIN + RETENTION, "boot-0", self.mono_ms)
        self.look()

    @property
    def instant(self) -> Instant:
        now = BEGIN + timedelta(milliseconds=self.real_ms) + self.wrong
        return Instant(now, self.trusted, f"boot-{self.boots}", self.mono_ms)

    def look(self) -> None:
        """A sweep, as the keeper makes one, every ten seconds."""
        instant = self.instant
        self.odometer = self.odometer.advance(instant)
        if self.mono_ms - self.since_save >= SAVE_MS:
            self.save()
        if self.odometer.vouches(instant):
            self.highest, self.waited_ms = max(self.highest, instant.now), 0
        self.gone = self.gone or expired(self.kept, self.odometer, instant)

    def save(self) -> None:
        self.saved = read_odometer(canonical(self.odometer))
        self.since_save = self.mono_ms

    def run(self, ms: int) -> None:
        """Powered time, with a sweep at its end (and the saves within, which only move what is already known)."""
        while ms > 0 and not self.gone:
            step = min(ms, SAVE_MS)
            self.real_ms += step
            self.powered_ms += step
            self.mono_ms += step
            self.waited_ms += step
            ms -= step
            self.look()

    def reboot(self, off_ms: int, orderly: bool) -> None:
        if orderly:
            self.save()
        self.odometer = self.saved
        self.boots += 1
        # The first trusted time of a boot may correct what was believed before.
        self.highest = BEGIN
        self.real_ms += off_ms
        self.mono_ms, self.since_save = 0, -SAVE_MS
        self.look()


honest = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 30 * 60 * MINUTE)),
    st.tuples(st.just("off"), st.integers(0, 100 * 60 * MINUTE), st.booleans()),
)
wild = st.one_of(
    honest,
    st.tuples(st.just("run"), st.integers(20 * 60 * MINUTE, 40 * 60 * MINUTE)),
    # Many short boots: the plug is pulled before anything is saved.
    st.tuples(st.just("cycles"), st.integers(1, 70), st.integers(0, SAVE_MS)),
    st.tuples(st.just("clock"), st.timedeltas(timedelta(days=-20_000), timedelta(days=20_000)), st.booleans()),
    st.tuples(st.just("clock"), st.sampled_from([timedelta(hours=-1), timedelta(hours=1), timedelta()]), st.booleans()),
)


def play(world: World, events: list[tuple]) -> None:  # type: ignore[type-arg]
    for event in events:
        match event:
            case ("run", ms):
                world.run(ms)
            case ("off", ms, orderly):
                world.reboot(ms, orderly)
            case ("cycles", count, ms):
                for _ in range(count):
                    world.run(ms)
                    world.reboot(0, orderly=False)
            case ("clock", wrong, trusted):
                world.wrong, world.trusted = wrong, trusted
                world.look()
        if world.gone:
            return


@settings(max_examples=400)
@given(events=st.lists(wild, max_size=90))
def test_no_clock_keeps_a_clip_beyond_any_of_its_limits(events: list[tuple]) -> None:  # type: ignore[type-arg]
    """R28: at every sweep that left the clip, powered time and boots were within bounds, and so was, in later boots than the
    clip's own, every trusted reading of the clock that was within a day of the boot's first."""
    world = World()
    play(world, events)
    if not world.gone:
        assert world.powered_ms < RETENTION.total_seconds() * 1000
        assert world.boots <= BOOTS
        assert world.boots == 0 or world.highest < BEGIN + RETENTION
        # What a power cut takes from the odometer it takes from the six hours too; the 64 boots bound it.
        decides = world.odometer.least(world.instant.now) if world.trusted or world.boots == 0 else world.instant.now
        assert world.waited_ms < UNKNOWN_MS + world.boots * SAVE_MS or decides < BEGIN + RETENTION


@settings(max_examples=300)
@given(events=st.lists(honest, max_size=40))
def test_with_an_honest_clock_a_clip_stays_until_its_deadline(events: list[tuple]) -> None:  # type: ignore[type-arg]
    """R28: limits that protect against a wrong clock cost an honest node nothing but the charge of its power cuts."""
    world = World()
    play(world, events)
    past = world.real_ms >= RETENTION.total_seconds() * 1000
    if world.gone == "boots":
        assert world.boots > BOOTS
    elif world.gone == "powered":
        assert world.powered_ms + world.boots * SAVE_MS >= RETENTION.total_seconds() * 1000
    else:
        assert bool(world.gone) == past


@settings(max_examples=200)
@given(events=st.lists(wild, max_size=40), hours=st.integers(73, 500))
def test_a_hold_keeps_until_its_end_and_no_longer(events: list[tuple], hours: int) -> None:  # type: ignore[type-arg]
    """R29 with R28: a hold moves the deadline and stops the count of boots, so that no pulled plug destroys evidence."""
    world = World()
    world.kept = msgspec.structs.replace(world.kept, held=BEGIN + timedelta(hours=hours))
    play(world, events)
    end_ms = hours * 3_600_000
    if world.gone == "deadline":
        reached = max(world.highest, world.instant.now, world.odometer.least(world.highest))
        assert reached >= BEGIN + timedelta(hours=hours)
    elif world.gone:
        assert world.gone == "powered"
        assert world.powered_ms + world.boots * SAVE_MS >= end_ms
    else:
        assert world.powered_ms < end_ms


@settings(max_examples=200)
@given(
    false=st.timedeltas(timedelta(hours=25), timedelta(days=20_000)) | st.timedeltas(timedelta(days=-20_000), timedelta(hours=-25)),
    lasts=st.integers(1, 10 * 60 * MINUTE),
    before=st.integers(0, 20 * 60 * MINUTE),
)
def test_one_false_synchronisation_expires_nothing_and_is_forgotten(false: timedelta, lasts: int, before: int) -> None:
    """R28, 14.C12: a minute in 2040 expired every clip of days 0 to 30; of this boot and of the boot before."""
    for reboots in ([], [("off", 0, True)]):
        world = World()
        play(
            world,
            [*reboots, ("run", before), ("clock", false, True), ("run", lasts), ("clock", timedelta(), True), ("run", MINUTE)],
        )
        assert not world.gone
        assert world.odometer.latest == world.instant.now


@given(false=st.timedeltas(timedelta(days=-20_000), timedelta(days=20_000)), off=st.integers(0, 60 * 60 * MINUTE))
def test_the_first_time_of_a_boot_corrects_what_the_boot_before_believed(false: timedelta, off: int) -> None:
    """14.C12: years ahead stayed in the odometer until a technician removed the file."""
    world = World(wrong=false)
    world.run(MINUTE)
    world.wrong = timedelta()
    world.reboot(off, orderly=True)
    assert world.odometer.latest == world.instant.now


@given(clock=st.timedeltas(timedelta(days=-20_000), timedelta(days=20_000)), trusted=st.booleans())
def test_a_clip_of_this_boot_expires_by_the_monotonic_clock_alone(clock: timedelta, trusted: bool) -> None:
    world = World()
    play(world, [("clock", clock, trusted), ("run", 72 * 60 * MINUTE - 1)])
    assert not world.gone
    play(world, [("run", 1)])
    assert world.gone == "deadline"


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=400)])
def test_powered_time_counts_when_the_clock_is_set_back_and_nobody_vouches_for_it(back: timedelta) -> None:
    """R28, by one of the three limits alone: 72 hours of power, whatever the clock shows."""
    world = World()
    play(world, [("clock", -back, False), ("off", 0, True), ("run", 71 * 60 * MINUTE)])
    assert not world.gone
    play(world, [("run", 60 * MINUTE)])
    assert world.gone == "powered"


def test_a_plug_that_is_pulled_before_each_save_prolongs_nothing() -> None:
    """R28: sixty boots of almost five minutes, none of them saved, count in full; the odometer itself never saw them."""
    world = World()
    play(world, [("clock", timedelta(days=-400), False), ("run", 68 * 60 * MINUTE), ("cycles", 60, SAVE_MS - 1000)])
    assert world.gone == "powered"
    assert world.powered_ms <= RETENTION.total_seconds() * 1000


def test_boots_count_when_nothing_else_does() -> None:
    """R28: a node that is on for seconds at a time, with a clock that is never right."""
    world = World()
    play(world, [("clock", timedelta(days=-400), False), ("cycles", BOOTS, 1000)])
    assert not world.gone
    play(world, [("cycles", 1, 1000)])
    assert world.gone == "boots"


def test_the_charge_of_power_cuts_does_not_move_the_wall_clock() -> None:
    """Twenty power cuts in an hour, none with a time to trust, must not make the node believe that it is later than it is."""
    world = World()
    world.save()
    world.trusted = False
    for _ in range(20):
        world.run(3 * MINUTE)
        world.reboot(0, orderly=False)
    assert world.odometer.least(BEGIN) <= BEGIN + timedelta(milliseconds=world.real_ms)


# -- what goes first ---------------------------------------------------------------------------------------------------

clips = st.lists(
    st.builds(
        Kept,
        clip=st.uuids().map(str),
        trigger=st.sampled_from(["routine", "presence", "tamper", "help"]),
        size=st.integers(1, 100),
        begin=st.integers(0, 7200).map(lambda s: BEGIN + timedelta(seconds=s)),
        deadline=st.just(BEGIN + RETENTION),
        boot_id=st.just("b"),
        mono_ms=st.just(0),
        held=st.sampled_from([None, None, None, BEGIN + timedelta(days=9)]),
        uploaded=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda one: one.clip,
)


@given(kept=clips)
def test_what_goes_first_is_what_was_declared(kept: list[Kept]) -> None:
    """Uploaded, routine, events, further help; oldest first; never held ones, never protected help."""
    order = list(drop_order(kept))
    ranks = [
        (not one.uploaded, {"routine": 1, "help": 3}.get(one.trigger, 2) if not one.uploaded else 0, one.begin) for one in order
    ]
    assert ranks == sorted(ranks)
    safe = protected(kept)
    assert {one.clip for one in order} == {one.clip for one in kept if one.held is None and one.clip not in safe}


@given(kept=clips)
def test_help_is_protected_at_most_once_in_ten_minutes_and_at_least_once_in_twenty(kept: list[Kept]) -> None:
    help_clips = sorted((one for one in kept if one.trigger == "help"), key=lambda one: one.begin)
    safe = sorted(one.begin for one in help_clips if one.clip in protected(kept))
    assert all(later - sooner >= PROTECTED_EVERY for sooner, later in pairwise(safe))
    for one in help_clips:
        assert any(timedelta() <= one.begin - begin < PROTECTED_EVERY for begin in safe)
