"""The view guard among buses, crowds and nights, over restarts, and what the reference picture may show (R06, R24, R30)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import RecordError
from privacy.masking.delay import Verdict
from privacy.masking.mask_record import NOTHING
from privacy.masking.masker import Masker
from privacy.masking.reference_picture import Reference
from privacy.masking.regions import Region
from privacy.masking.view_guard import HEAL_NS, PATIENCE_NS, SECOND, ViewGuard, ViewState
from tests.support.home import FPS, HEIGHT, WIDTH, Events, shots, stop
from tests.support.tampering import kept_edges

SIZE = (WIDTH, HEIGHT)
Picture = np.ndarray
Scene = Callable[[float], Picture]
Hidden = Callable[[float], tuple[Region, ...]]
EMPTY = stop()
BUS = (Region("vehicle", 0, 10, 256, 168),)
NOISE = [np.random.default_rng(seed).normal(0, 1.5, (90, 160)).astype(np.float32) for seed in range(16)]


def picture_of(events: Events, second: float = 10) -> Picture:
    return next(shot for shot in shots(events, 20) if shot.second >= second).frame.planes[0].copy()


WITH_BUS = picture_of(Events(bus=(0, 1000), people=False))


class Watch:
    """A guard, its clock, and what it took the view for: (second, kind, hides) at each change."""

    def __init__(self, guard: ViewGuard) -> None:
        self.guard, self.at, self.found = guard, 0.0, [(0.0, guard.state)]

    def see(self, seconds: float, scene: Scene = lambda _: EMPTY, hidden: Hidden = lambda _: ()) -> Watch:
        for index in range(round(seconds * 2)):
            self.at += 0.5
            small = cv2.resize(scene(index / 2).astype(np.float32), (160, 90), interpolation=cv2.INTER_AREA) + NOISE[index % 16]
            luma = np.clip(small, 0, 255).astype(np.uint8)
            standing = self.guard.look(luma, hidden(index / 2), SIZE, round(self.at * SECOND))
            if standing != self.found[-1][1]:
                self.found.append((self.at, standing))
        return self

    @property
    def changes(self) -> list[ViewState]:
        return [standing for _, standing in self.found[1:]]


@pytest.fixture(scope="module")
def edges() -> ViewGuard:
    return Watch(ViewGuard()).see(300).guard


@pytest.fixture
def watch(edges: ViewGuard) -> Watch:
    """A guard that has known the stop for five minutes; its clock starts again at 300."""
    watch = Watch(deepcopy(edges))
    watch.at = 300.0
    return watch


def placed(across: int = 0, down: int = 0, turn: float = 0.0, zoom: float = 1.0) -> Picture:
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), turn, zoom)
    matrix[:, 2] += (across, down)
    return cv2.warpAffine(EMPTY, matrix, SIZE, borderMode=cv2.BORDER_REFLECT)


def snowed(picture: Picture) -> Picture:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    blob = np.clip((1.15 - np.sqrt(((x - 34) / 84) ** 2 + ((y - 44) / 72) ** 2)) * 3, 0, 0.97)
    return picture + (235 - picture.astype(np.float32)) * blob


def plain_truck() -> Picture:
    picture = EMPTY.copy()
    picture[20:140, 60:220] = 60
    picture[22:138, 62:218] = 150
    return picture


def grey(level: float) -> Scene:
    return lambda _: np.full((HEIGHT, WIDTH), level)


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "not found by the detector"])
def test_a_bus_for_ten_minutes_is_an_obstruction(watch: Watch, masked: bool) -> None:
    watch.see(600, lambda _: WITH_BUS, lambda _: BUS if masked else ()).see(120)
    assert watch.changes == []


def test_a_guard_that_starts_behind_a_bus_learns_the_stop_in_the_end() -> None:
    """No false finding when it leaves, and half an hour later a move is found by the stop's own edges."""
    watch = Watch(ViewGuard()).see(300, lambda _: WITH_BUS).see(3000)
    assert watch.changes == []
    assert watch.see(200, lambda _: placed(60, 0)).changes == [ViewState("moved", True)]


def test_snow_is_found_although_buses_come_and_people_stand_before_it(watch: Watch) -> None:
    """What hides the snow for a while does not end the fifteen minutes."""
    watch.see(
        1500,
        lambda t: snowed(WITH_BUS if t % 300 < 40 else EMPTY),
        lambda t: BUS if t % 300 < 40 else (Region("person", 0, 0, 140, 130),) if t % 60 < 3 else (),
    )
    assert watch.changes == [ViewState("covered", False)]
    assert watch.found[-1][0] - 300 <= PATIENCE_NS["partly"] / SECOND + 300


def test_a_plain_truck_has_an_outline_and_is_no_cover(watch: Watch) -> None:
    """For forty minutes, and also when it drives off after two hours."""
    assert watch.see(2400, lambda _: plain_truck()).see(300).changes == []


def test_a_partial_cover_that_becomes_a_whole_one_hides(watch: Watch) -> None:
    watch.see(1000, lambda _: snowed(EMPTY)).see(40, grey(120))
    assert watch.changes == [ViewState("covered", False), ViewState("covered", True)]


def test_snow_that_melts_heals_within_two_minutes(watch: Watch) -> None:
    watch.see(1000, lambda _: snowed(EMPTY)).see(120)
    assert watch.changes == [ViewState("covered", False), ViewState()]


def test_night_ends_no_finding(watch: Watch) -> None:
    """What is too dark to judge is no proof that all is well again."""
    watch.see(60, grey(100)).see(600, lambda _: EMPTY * 0.05)
    assert watch.changes == [ViewState("covered", True)]
    assert watch.see(HEAL_NS / SECOND + 2).changes[1:] == [ViewState()]


def test_dusk_night_and_dawn_are_no_tampering(watch: Watch) -> None:
    watch.see(900, lambda t: EMPTY * (1 - 0.97 * t / 900)).see(300, lambda _: EMPTY * 0.03)
    assert watch.see(900, lambda t: EMPTY * (0.03 + 0.97 * t / 900)).changes == []


def test_a_move_is_found_although_a_vehicle_hides_everything_now_and_then(watch: Watch) -> None:
    everything = (Region("vehicle", 0, 0, WIDTH, HEIGHT),)
    watch.see(400, lambda _: placed(60, 0), lambda t: everything if t % 60 < 20 else ())
    assert watch.changes == [ViewState("moved", True)]


def test_lights_that_pass_for_an_hour_blind_nobody(watch: Watch) -> None:
    """Each for eight seconds of twenty: they do not add up."""
    assert watch.see(600, lambda t: EMPTY * 0.0 + 250 if t % 20 < 8 else EMPTY).changes == []


@pytest.mark.parametrize("turn", [4, -5, 8, 12, -17, 30])
def test_a_camera_that_was_tilted_has_moved(watch: Watch, turn: float) -> None:
    watch.see(140, lambda _: placed(turn=turn))
    assert watch.changes == [ViewState("moved", True)]
    assert watch.found[-1][0] - 300 >= PATIENCE_NS["moved"] / SECOND


@settings(max_examples=12)
@given(st.integers(10, 30), st.sampled_from([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1)]))
def test_any_shift_by_a_tenth_to_a_third_is_a_move(edges: ViewGuard, percent: int, way: tuple[int, int]) -> None:
    moved = placed(way[0] * WIDTH * percent // 100, way[1] * HEIGHT * percent // 100)
    watch = Watch(deepcopy(edges))
    watch.at = 300.0
    assert watch.see(140, lambda _: moved).changes == [ViewState("moved", True)]


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1))
def test_a_shaking_mast_is_no_move(edges: ViewGuard, seed: int) -> None:
    """Each look up to three pixels off in each direction."""
    rng = np.random.default_rng(seed)
    watch = Watch(deepcopy(edges))
    watch.at = 300.0
    assert watch.see(180, lambda _: placed(*(int(off) for off in rng.integers(-3, 4, 2)))).changes == []


@pytest.mark.parametrize("scene", [grey(100), lambda _: cv2.GaussianBlur(EMPTY, (0, 0), 9)], ids=["covered", "out of focus"])
def test_what_befell_the_lens_while_the_power_was_off_heals_when_it_is_gone(edges: ViewGuard, scene: Scene) -> None:
    """Without edges it is no move, which would wait for a technician."""
    watch = Watch(ViewGuard(edges.to_bytes())).see(200, scene).see(HEAL_NS / SECOND + 2)
    assert watch.changes == [ViewState("covered", True), ViewState()]


@pytest.mark.parametrize("lamp", [0.45, 1.0])
def test_a_restart_at_any_hour_finds_the_view_as_it_was(edges: ViewGuard, lamp: float) -> None:
    assert Watch(ViewGuard(edges.to_bytes())).see(300, lambda _: EMPTY * lamp).changes == []


@settings(max_examples=60)
@given(st.data())
def test_a_torn_memory_is_refused(edges: ViewGuard, data: st.DataObject) -> None:
    kept = edges.to_bytes()
    with pytest.raises(RecordError, match="damaged"):
        ViewGuard(kept[: data.draw(st.integers(1, len(kept) - 1))])


def test_who_stands_there_while_the_view_is_learnt_leaves_no_outline() -> None:
    """R30: the card keeps no edge from under a mask, also not from the first picture."""
    somebody = cv2.ellipse(EMPTY.copy(), (130, 90), (20, 44), 0, 0, 360, 230, -1)
    where = (Region("person", 100, 40, 160, 140),)
    bare, masked = (Watch(ViewGuard()).see(120, lambda _: somebody, lambda _, of=of: of).guard for of in ((), where))
    assert masked.established
    assert (kept_edges(bare)[20:70, 50:80] > 0).mean() > 0.15
    assert not kept_edges(masked)[20:70, 50:80].any()
    assert kept_edges(masked).any()


def sampled(painted_in: Callable[[int], bool]) -> Picture:
    """Luma (limited range) of the reference after fifteen samples of the stop with somebody in white who waits there."""
    reference, masker = Reference(), Masker(WIDTH, HEIGHT, None)
    body = Region("person", 110, 70, 150, 142)
    for number, shot in enumerate(list(shots(Events(people=False), 15))[::FPS]):
        shot.frame.planes[0][72:140, 112:148] = 225
        masked = masker.mask(shot.frame, Verdict((body,) if painted_in(number) else ()))
        reference.add(masked, masker.raster(masked.record))
    picture = cv2.imdecode(np.frombuffer(reference.jpeg(), np.uint8), cv2.IMREAD_GRAYSCALE)
    return picture.astype(float) * 219 / 255 + 16


@pytest.mark.parametrize("missed", [(), (7,), (2, 9)])
def test_who_waited_is_not_in_the_reference_even_if_missed_once_or_twice(missed: tuple[int, ...]) -> None:
    """R24: a place that was painted in more than two thirds of the samples keeps the tone of what is not shown."""
    picture = sampled(lambda number: number not in missed)
    assert np.abs(picture[76:136, 116:144] - NOTHING[0]).max() < 12
    away = np.ones(picture.shape, bool)
    away[60:150, 100:160] = away[55:115, 280:315] = False
    assert np.corrcoef(picture[away], EMPTY[away].astype(float))[0, 1] > 0.97


def test_the_tone_of_people_is_not_in_the_reference() -> None:
    """Who is painted in some samples and gone in the others: the place is shown as it is without the paint."""
    reference, masker = Reference(), Masker(WIDTH, HEIGHT, None)
    for number, shot in enumerate(list(shots(Events(people=False), 15))[::FPS]):
        masked = masker.mask(shot.frame, Verdict((Region("person", 111, 71, 149, 141),) if number % 3 else ()))
        reference.add(masked, masker.raster(masked.record))
    picture = cv2.imdecode(np.frombuffer(reference.jpeg(), np.uint8), cv2.IMREAD_COLOR)
    plain = cv2.cvtColor(next(shots(Events(people=False), 1)).frame.buffer, cv2.COLOR_YUV2BGR_I420)
    off = np.abs(picture[66:146, 106:154].astype(int) - plain[66:146, 106:154])
    assert np.percentile(off, 99) < 40
    assert off.mean() < 8
