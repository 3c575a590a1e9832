"""What leaves the node of its counts of frames: shares of five minutes in quarters (R44); and what they are made of."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera.shares import WINDOW_S, Counts, Window, quarter
from privacy.masking.frames import Frame
from privacy.masking.frozen_camera import DistinctCount
from privacy.masking.light import focus
from tests.support.tones import picture

STEPS = st.lists(
    st.tuples(st.integers(0, 200), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["", "late", "dark"]), st.floats(0.1, 30)),
    max_size=60,
)


@given(STEPS)
def test_only_quarters_leave_whatever_was_counted(steps: list[tuple[int, float, float, str, float]]) -> None:
    window, now = Window(), 0.0
    frames = distinct = 0
    painted, full = 0.0, dict[str, int]()
    for more, same, paint, cause, passed in steps:
        now += passed
        frames, distinct = frames + more, distinct + round(more * same)
        painted += more * (1.0 if cause else paint)
        if cause:
            full[cause] = full.get(cause, 0) + more
        found = window.see(Counts(frames, distinct, painted, dict(full)), now)
        shares = [found.distinct, found.coverage, found.full, *found.full_by_cause.values()]
        assert all(share is None or share in (0.0, 0.25, 0.5, 0.75, 1.0) for share in shares)
        assert found.fps is None or found.fps >= 0


def test_a_share_is_of_the_last_five_minutes() -> None:
    """Ten minutes of full masks after ten without: the first ten are forgotten."""
    window = Window()
    for second in range(1201):
        full = max(0, second - 600) * 15
        found = window.see(Counts(second * 15, second * 15, float(full), {"late": full}), float(second))
        if second == 600:
            assert (found.fps, found.distinct, found.full, found.full_by_cause) == (15, 1.0, 0.0, {})
    assert found.full_by_cause == {"late": 1.0}
    assert found.full == found.coverage == pytest.approx(1.0)


def test_a_camera_without_pictures_has_a_rate_of_zero_and_no_share() -> None:
    window = Window()
    window.see(Counts(100, 100, 0.0, {}), 0.0)
    found = window.see(Counts(100, 100, 0.0, {}), WINDOW_S)
    assert (found.fps, found.distinct, found.coverage) == (0, None, None)


@given(st.floats(-1, 2))
def test_a_quarter_is_the_nearest(share: float) -> None:
    assert abs(quarter(share) - min(1.0, max(0.0, share))) <= 0.125 + 1e-9


def test_a_picture_that_differs_by_noise_alone_is_another_one() -> None:
    counted, noise = DistinctCount(), np.random.default_rng(1)
    same = picture(120)
    for _ in range(4):
        counted.see(same)
    assert counted.count == 1
    for _ in range(4):
        counted.see(picture(120, noise))
    assert counted.count == 5


def test_in_the_dark_the_same_picture_counts_as_another() -> None:
    """A sensor that clips gives the same black picture all night: that is no hung camera."""
    counted = DistinctCount()
    for _ in range(4):
        counted.see(picture(16))
    assert counted.count == 4


def test_a_blurred_picture_has_less_focus() -> None:
    sharp = picture(120, np.random.default_rng(1), spread=80)
    blurred = cv2.GaussianBlur(sharp.planes[0], (0, 0), 3)
    soft = Frame(np.vstack((blurred, sharp.buffer[sharp.height :])), sharp.width, sharp.height, 0, 1, 1)
    assert focus(soft) < focus(sharp) / 4
    assert focus(picture(120)) == pytest.approx(0.0)
