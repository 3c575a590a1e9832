"""Masked or nothing under faults: 40,000 frames here, a million in `make test-faults-full` (R17, R18, R19)."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest

from privacy.masking.delay import SECOND, DelayLine
from privacy.masking.frames import Frame
from tests.support.faults import Run
from tests.support.scenes import HEIGHT, WIDTH

FRAMES_A_RUN = 10_000
RUNS = int(os.environ.get("LYKTA_FAULT_FRAMES", "40000")) // FRAMES_A_RUN
SHARES = {"standard": 0.8, "strict": 0.2}


@pytest.mark.parametrize("seed", range(RUNS))
def test_no_fault_uncovers_anybody(seed: int) -> None:
    """Whatever fails, no pixel of a person leaves as it was; and between the faults the street is shown."""
    full: Counter[str] = Counter()
    for profile, share in SHARES.items():
        wanted = round(FRAMES_A_RUN * share)
        judge = Run(seed, profile).frames(wanted)  # type: ignore[arg-type]
        assert judge.leaks == [], f"{profile}, seed {seed}"
        assert judge.frames == wanted
        assert judge.people > wanted * 0.5, "there was somebody to leak"
        full += judge.full
    assert full.total() < FRAMES_A_RUN * 0.8, "something is shown"
    assert {"gap", "detector_error", "detector_absurd", "crowd", "exposure", "dark", "mode", "view_moved"} <= set(full)


class _Patient(DelayLine):
    """Waits too long for an answer, and joins looks that are too far apart."""

    gap_ns = patience_ns = 60 * SECOND


class _Dazzled(DelayLine):
    """Does not care for jumps of the exposure."""

    settle_ns = 0


class _Trusting(DelayLine):
    """Believes that nobody comes and goes between two looks."""

    def push(self, frame: Frame) -> None:
        super().push(frame)
        taken, tiles = self._frames.pop()
        self._frames.append((taken, np.zeros_like(tiles)))


@pytest.mark.parametrize("careless", [_Patient, _Dazzled, _Trusting])
def test_the_suite_would_notice(careless: type[DelayLine]) -> None:
    """Each rule of the delay line taken away uncovers somebody: the suite above can fail."""
    assert any(Run(seed, line=careless(WIDTH, HEIGHT)).frames(4000).leaks for seed in range(4))
