"""The gate between looks (R45): what neither look around a frame shows is masked, in every profile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.masking.changes import SIDE, STEPS, USUAL_STEPS, Around, tiles_luma, usual
from privacy.masking.detection import Detection
from privacy.masking.frame_path import Engine
from privacy.masking.frames import Frame
from privacy.masking.masker import Masker
from privacy.masking.tiles import rectangles
from privacy.records.basis import Profile

SIZES = st.sampled_from([(320, 180), (640, 360), (1280, 720), (352, 288), (362, 642)])
EMPTY = np.full((54, 96), 100, np.uint8)


def scene(index: int, size: tuple[int, int], noise: int, fps: float = 15) -> Frame:
    """A textured place as a camera sees it: the same in every frame but for its noise."""
    width, height = size
    texture = np.random.default_rng(1).integers(80, 150, (height, width))
    luma = texture + np.random.default_rng(index).integers(-noise, noise + 1, (height, width))
    buffer = np.full((height * 3 // 2, width), 128, np.uint8)
    buffer[:height] = luma
    return Frame(buffer, width, height, index, round(index * 1e9 / fps), 0)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=SIZES, steps=st.integers(3 * STEPS // 2 + 1, 35), darker=st.booleans(), noise=st.integers(0, 12))
def test_whoever_is_in_one_frame_alone_is_masked(data: Any, size: tuple[int, int], steps: int, darker: bool, noise: int) -> None:
    """By construction: whole, of any size from two tiles on, anywhere, brighter or darker by half more than the bound.

    Half more, since a tile is the mean of halved pixels: people of two tiles may cover seven tenths of one at most, and so may the
    edges of larger ones. The bound is one of a tile's mean, which noise moves too: in the smallest picture, of eleven pixels a
    tile, by up to 1.5 times.
    """
    steps += 3 * noise // 2
    width, height = size
    tile = max(size) / SIDE
    wide = data.draw(st.integers(int(2 * tile) + 1, width // 2))
    high = data.draw(st.integers(int(2 * tile) + 1, height // 2))
    left, top = data.draw(st.integers(0, width - wide)), data.draw(st.integers(0, height - high))
    before, frame, after = (scene(index, size, noise) for index in range(3))
    around = Around(tiles_luma(before), tiles_luma(after), None)
    there = (slice(top, top + high), slice(left, left + wide))
    frame.planes[0][there] += np.uint8(-steps % 256 if darker else steps)
    covered = np.zeros((height, width), bool)
    for region in around.regions(tiles_luma(frame), width, height):
        covered[region.top : region.bottom, region.left : region.right] = True
    assert covered[there].all()


@given(noise=st.integers(0, 40))
def test_what_stays_as_it_is_stays_shown(noise: int) -> None:
    """A camera's noise in pixels is none in a tile's mean."""
    first, second, third = (tiles_luma(scene(index, (1280, 720), noise)) for index in range(3))
    assert not Around(first, third, usual([first, second, third])).changed(second).any()


def test_a_picture_like_one_of_its_looks_is_shown_unless_it_is_unusual() -> None:
    """Who stands at one look is the detector's; who crosses is masked also where one look of four saw them."""
    person = EMPTY.copy()
    person[20:30, 40:44] += USUAL_STEPS
    assert not Around(EMPTY, person, None).changed(person).any()
    assert not Around(EMPTY, person, usual([EMPTY, person, person])).changed(person).any()
    assert Around(EMPTY, person, usual([EMPTY, EMPTY, person, EMPTY])).changed(person)[20:30, 40:44].all()


@given(
    st.lists(st.integers(0, 255), min_size=3, max_size=4).map(lambda levels: [np.full((2, 3), level, np.uint8) for level in levels])
)
def test_the_usual_picture_lies_in_the_middle(looks: list[np.ndarray]) -> None:
    levels = sorted(int(look[0, 0]) for look in looks)
    found = usual(looks)
    assert found is not None
    assert levels[1] <= int(found[0, 0]) <= levels[-2]
    assert usual(looks[:2]) is None


class OnlyLooks:
    """Finds whoever stands in the frame that it is shown, exactly; nothing tells it of the others."""

    name, parts = "only looks", ()

    def __init__(self, visit: tuple[int, int], box: tuple[int, int, int, int]) -> None:
        self.models: dict[str, str] = {}
        self.visit, self.box = visit, box

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        here = self.visit[0] <= frame.index < self.visit[1]
        return (Detection("person", *map(float, self.box), 0.9),) if here else ()


def visited(frames: int, visit: tuple[int, int], box: tuple[int, int, int, int]) -> Iterator[Frame]:
    left, top, right, bottom = box
    for index in range(frames):
        frame = scene(index, (320, 180), 3, fps=25)
        if visit[0] <= index < visit[1]:
            frame.planes[0][top:bottom, left:right] += np.uint8(STEPS + 6)
        yield frame


@pytest.mark.parametrize("profile", ["standard", "strict"])
@settings(max_examples=50, deadline=None)
@given(begin=st.integers(10, 40), lasts=st.integers(1, 20), left=st.integers(0, 290), top=st.integers(0, 120))
def test_nobody_is_shown_for_less_than_the_time_between_looks(
    profile: Profile, begin: int, lasts: int, left: int, top: int
) -> None:
    """R45: visible for 0.04 to 0.8 s at 25 frames a second, looked at every 0.3 s."""
    visit, box = (begin, begin + lasts), (left, top, left + 20, top + 50)
    masker = Masker(320, 180, None, profile)
    engine = Engine(OnlyLooks(visit, box), masker, 7)
    masked = []
    for frame in visited(80, visit, box):
        masked += [masker.raster(one.record) for one in engine.feed(frame)]
    masked += [masker.raster(one.record) for one in engine.end()]
    assert len(masked) == 80
    for index in range(*visit):
        assert masked[index][box[1] : box[3], box[0] : box[2]].all(), index


@given(
    grid=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=9).map(lambda rows: np.array(rows, bool))
)
def test_rectangles_cover_the_tiles_that_are_set_and_no_other(grid: np.ndarray) -> None:
    found = rectangles("change", grid, (4.0, 4.0), 20, 4 * len(grid))
    drawn = np.zeros(grid.shape, int)
    for region in found:
        drawn[region.top // 4 : region.bottom // 4, region.left // 4 : region.right // 4] += 1
    assert (drawn == grid).all(), "each once"
