"""Numbers that need more than one look: disk, voltage, clock, watchdog, link."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.own_process import count_start, usage
from agent.uplink.health.trends import DAY_S, Boots, ClockSteps, ConnectedShare, Growth, RoundTrip


class Clock:
    """Two clocks that the test sets, seconds."""

    def __init__(self) -> None:
        self.mono = self.wall = 1000.0

    def pass_(self, seconds: float, step: float = 0.0) -> None:
        self.mono += seconds
        self.wall += seconds + step


def look(growth: Growth) -> None:
    with suppress(ValueError):
        growth.days_to_full()


def test_days_to_full_are_those_of_the_last_day() -> None:
    clock, free = Clock(), [10_000.0]
    growth = Growth(lambda: free[0], lambda: clock.mono)
    with pytest.raises(ValueError, match="ten minutes"):
        growth.days_to_full()
    for _ in range(2 * 1440):
        clock.pass_(60)
        free[0] -= 0.5
        look(growth)
    assert growth.days_to_full() == pytest.approx(free[0] / 720, rel=0.01)
    for _ in range(2 * 1440):
        clock.pass_(60)
        free[0] += 0.1
        look(growth)
    with pytest.raises(ValueError, match="does not fill"):
        growth.days_to_full()


@given(st.lists(st.tuples(st.floats(1, 60), st.sampled_from([0.0, 0.005, -0.01, 3600.0, -2.0])), max_size=50))
def test_a_step_of_the_clock_is_counted_and_slewing_is_not(moves: list[tuple[float, float]]) -> None:
    clock = Clock()
    steps = ClockSteps(lambda: clock.wall, lambda: clock.mono)
    for seconds, step in moves:
        clock.pass_(seconds, step)
        steps.look()
    assert steps.count == sum(abs(step) > 0.5 for _, step in moves)


def test_resets_of_the_watchdog_are_counted_once_a_boot(tmp_path: Path) -> None:
    path = tmp_path / "uplink/boots.json"
    assert Boots(path, "boot-1", lambda: "other").watchdog_resets() == 0
    for _ in range(3):
        assert Boots(path, "boot-2", lambda: "watchdog").watchdog_resets() == 1
    assert Boots(path, "boot-3", lambda: "watchdog").watchdog_resets() == 2
    path.write_bytes(b"{")
    assert Boots(path, "boot-4", lambda: "other").watchdog_resets() == 0


def test_starts_are_counted_by_the_boot(tmp_path: Path) -> None:
    path = tmp_path / "starts.json"
    assert [count_start(path, "boot-1") for _ in range(3)] == [0, 1, 2]
    assert count_start(path, "boot-2") == 0
    assert count_start(tmp_path / "missing/starts.json", "boot-2") is None


def test_what_a_process_says_of_itself_is_the_kernels() -> None:
    own, known = usage(), psutil.Process()
    assert own.memory_mb == pytest.approx(known.memory_info().rss / 1e6, rel=0.2)
    assert own.threads == known.num_threads()
    assert abs(own.descriptors - known.num_fds()) <= 2


@given(st.lists(st.tuples(st.floats(1, 5000), st.booleans()), min_size=1, max_size=100))
def test_the_connected_share_is_that_of_the_last_day(spans: list[tuple[float, bool]]) -> None:
    """Against a plain sum, within what a bucket of ten minutes and the longest span leave open."""
    clock = Clock()
    share, history = ConnectedShare(lambda: clock.mono), list[tuple[float, float, bool]]()
    for seconds, up in spans:
        clock.pass_(seconds)
        found = share.see(up)
        history.append((clock.mono - seconds, clock.mono, up))
    total = sum(end - begin for begin, end, _ in history)
    if total <= DAY_S:
        wanted = sum(end - begin for begin, end, up in history if up) / total
        assert found == pytest.approx(wanted, abs=0.001)
    assert found is not None
    assert 0 <= found <= 1


def test_the_round_trip_is_a_median_and_forgets_answers_that_never_come() -> None:
    clock = Clock()
    trip = RoundTrip(lambda: clock.mono)
    assert trip.ms is None
    for token in range(5000):
        trip.sent(token)
    trip.answered(1)
    for token, took in enumerate((0.01, 0.02, 5.0), 10_000):
        trip.sent(token)
        clock.pass_(took)
        trip.answered(token)
    trip.answered(99)
    assert trip.ms == pytest.approx(20.0)
