"""The fleet simulator with fifty nodes: what a storm at the centre loses, counts twice or puts in disorder is nothing."""

from __future__ import annotations

import pytest

from tests.bench.fleet.fleet import Plan
from tests.bench.fleet.packets import Will, connect, packets, publish
from tests.bench.fleet.run import Course, simulate

PLAN = Plan(nodes=50, kept=1, days=0.25, minute_s=5.0, outages=0.1, outage_s=6.0, clocks=0.1, seed=7)


@pytest.mark.parametrize("tls", [False, True])
def test_a_storm_at_the_centre_loses_nothing_and_counts_nothing_twice(tls: bool) -> None:
    """The collector is killed once, the broker starts anew once, links break, a node was away for hours, clocks are wrong."""
    found = simulate(PLAN, Course(calm_s=3.0), tls=tls, database="sqlite")
    verdict = found.verdict
    assert verdict.good, verdict
    assert found.nodes == 51
    assert verdict.sent > 51 * 15
    assert verdict.late > 60 * 9, "health of six hours, and what nodes with a wrong clock say"
    assert found.delays.many > 0
    assert found.back_s is not None


@pytest.mark.parametrize("size", [0, 100, 127, 128, 16_383, 16_384, 130_000])
def test_packets_are_read_as_they_were_written_however_they_are_cut(size: int) -> None:
    data = publish("lykta/v1/a/b/state", b"x" * size, 7, retain=True) + connect(
        "a/b", 20, 60, 32, Will("t", b"w" * min(size, 65_535), 30)
    )
    buffer, found = bytearray(), []
    for at in range(0, len(data), 1000):
        buffer += data[at : at + 1000]
        found += list(packets(buffer))
    assert [one.kind for one in found] == [3, 1]
    assert found[0].flags == 0b0011
    assert found[0].body.endswith(b"x" * size)
    assert not buffer
