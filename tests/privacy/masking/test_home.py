"""A day and a night at a drawn bus stop, and what the view guard makes of them (R06, R18, R19, R21, R22)."""

from __future__ import annotations

from copy import deepcopy

import cv2
import numpy as np
import pytest

from privacy.errors import RecordError
from privacy.masking.light import small_luma
from privacy.masking.regions import Region
from privacy.masking.view_guard import PATIENCE_NS, SECOND, ViewGuard
from tests.support.home import DAY, FPS, HEIGHT, NIGHT, WIDTH, Events, shots, stop, watch
from tests.support.tampering import BAD, Change, Picture, kept_edges, same, shifted

CASES = {
    "day, strict": (DAY, 1200, False, "strict", 0.02),
    "night, standard": (NIGHT, 1240, True, "standard", 0.10),
}


@pytest.mark.parametrize("case", CASES)
def test_twenty_minutes_at_the_stop(case: str) -> None:
    """People walk and wait; a bus covers four fifths for ten minutes; headlights, rain, a flickering advertisement, a door.

    Nobody is seen, nothing is taken for tampering, the view needs no confirmation, people before the bus stay shapes, and the
    share of time fully masked is within the promised bound.
    """
    events, seconds, night, profile, bound = CASES[case]
    found = watch(shots(events, seconds, night=night), profile)  # type: ignore[arg-type]
    assert found.bare == 0
    assert found.tampers == []
    assert found.full.total() <= bound * found.frames, found.full
    assert found.shapes >= 0.95
    assert found.painted < 0.9


def test_snow_on_a_fifth_of_the_lens_is_tampering() -> None:
    """And the rest of the picture is shown meanwhile."""
    found = watch(shots(Events(snow=(200, 2000)), 1200))
    assert [kind for kind, _ in found.tampers] == ["covered"]
    assert 200 + PATIENCE_NS["partly"] / SECOND <= found.tampers[0][1] <= 200 + PATIENCE_NS["partly"] / SECOND + 10
    assert found.full.total() == 0


def run(guard: ViewGuard, begin: float, seconds: float, change: Change = same, hidden: tuple[Region, ...] = ()) -> list[str]:
    """Kinds of standing, look by look, while the stop is seen through a change."""
    rng, kinds = np.random.default_rng(int(begin) + 1), []
    for index in range(round(seconds * 2)):
        picture = change(stop()).astype(np.float32) + rng.normal(0, 1.5, (HEIGHT, WIDTH))
        small = cv2.resize(np.clip(picture, 16, 235).astype(np.uint8), (160, 90), interpolation=cv2.INTER_AREA)
        at = round((begin + index / 2) * SECOND)
        kinds.append(guard.look(small, hidden, (WIDTH, HEIGHT), at).kind)
    return kinds


@pytest.fixture(scope="module")
def acquainted() -> ViewGuard:
    guard = ViewGuard()
    assert set(run(guard, 0, 300)) == {""}
    assert guard.established
    return guard


@pytest.fixture
def guard(acquainted: ViewGuard) -> ViewGuard:
    """One that has known the stop for five minutes."""
    return deepcopy(acquainted)


@pytest.mark.parametrize("case", BAD)
def test_tampering_is_found_and_named(guard: ViewGuard, case: str) -> None:
    """After its patience, not before, and everything is hidden while it lasts."""
    kind, change = BAD[case]
    kinds = run(guard, 300, 200, change)
    patience = PATIENCE_NS[kind] // SECOND
    assert set(kinds[: 2 * patience - 4]) == {""}
    assert set(kinds[2 * patience + 10 :]) == {kind}
    assert guard.state.hides


@pytest.mark.parametrize("case", [case for case, (kind, _) in BAD.items() if kind != "moved"])
def test_what_goes_away_heals_by_itself(guard: ViewGuard, case: str) -> None:
    run(guard, 300, 200, BAD[case][1])
    kinds = run(guard, 500, 90)
    assert kinds[100] != ""
    assert kinds[-1] == ""


def test_a_moved_view_waits_for_its_confirmation(guard: ViewGuard) -> None:
    """R06: also when it is turned back; and confirmed, the new view is the one to keep."""
    turn = shifted(60, 0)
    run(guard, 300, 200, turn)
    assert set(run(guard, 500, 120)) == {"moved"}
    guard.confirm()
    assert set(run(guard, 620, 300, turn)) == {""}
    assert run(guard, 920, 200)[-1] == "moved"


def test_a_camera_turned_while_the_power_was_off_is_found(guard: ViewGuard) -> None:
    kept = guard.to_bytes()
    assert set(run(ViewGuard(kept), 0, 300)) == {""}
    assert run(ViewGuard(kept), 0, 200, shifted(40, 0))[-1] == "moved"


def test_what_is_kept_over_a_restart_is_no_picture(guard: ViewGuard) -> None:
    """R30: directions of edges, no brightness: a darker street leaves the same; a torn one is refused."""
    kept = guard.to_bytes()
    assert len(kept) < 160 * 90
    dimmer = ViewGuard()
    run(dimmer, 0, 300, lambda picture: (picture * 0.6).astype(np.uint8))
    edges, others = kept_edges(guard), kept_edges(dimmer)
    assert set(np.unique(edges)) <= set(range(9)), "a direction or none"
    both = (edges > 0) & (others > 0)
    assert both.sum() > 0.9 * (edges > 0).sum(), "in less light the edges are the same"
    assert (edges[both] == others[both]).mean() > 0.95
    with pytest.raises(RecordError, match="damaged"):
        ViewGuard(kept[:-5])


@pytest.mark.parametrize("change", [shifted(2, 1), shifted(-2, -2), lambda picture: (picture * 0.6).astype(np.uint8)])
def test_wind_and_clouds_are_no_move(guard: ViewGuard, change: Change) -> None:
    assert set(run(guard, 300, 200, change)) == {""}


def test_a_night_of_darkness_is_judged_by_nobody(guard: ViewGuard) -> None:
    kinds = run(guard, 300, 600, lambda picture: (picture * 0.08).astype(np.uint8))
    assert set(kinds) == {""}
    assert set(run(guard, 900, 120)) == {""}


def test_what_is_masked_is_not_judged(guard: ViewGuard) -> None:
    """A crowd before the whole lower half, drawn as noise, under its mask."""

    def crowd(picture: Picture) -> Picture:
        picture[60:] = np.random.default_rng(3).integers(20, 230, picture[60:].shape)
        return picture

    assert set(run(guard, 300, 300, crowd, (Region("person", 0, 60, WIDTH, HEIGHT),))) == {""}


def test_frames_of_any_shape_have_a_small_picture() -> None:
    shot = next(shots(DAY, 1))
    assert small_luma(shot.frame, 160).shape == (90, 160)
    assert FPS > 0
