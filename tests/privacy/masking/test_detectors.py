"""The contract of the detector port: whoever supplies detections (networks here, an AI camera later) promises this."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.masking.delay import SECOND
from privacy.masking.detection import Detection, Detector, flaw
from privacy.masking.frame_path import look
from privacy.masking.frames import Frame
from privacy.masking.networks.detectors import open_stack
from privacy.masking.networks.models import STACKS, sha256_of
from tests.support.nodes import MODELS
from tests.support.picture import HEIGHT, WIDTH, draw_person, stop_scene
from tests.support.scenes import TruthDetector

PEOPLE = ((385, 436, 170), (555, 440, 172), (800, 470, 190))
"""Middle, feet and height of drawn people, pixels."""


class Told(TruthDetector):
    """Stands for hardware that finds people itself: it knows those of the drawn scene, scaled to the frame."""

    name = "told"

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        scale = frame.width / WIDTH
        if frame.planes[0].std() < 1:
            return ()
        boxes = ((x - tall * 0.16, feet - tall, x + tall * 0.16, feet) for x, feet, tall in PEOPLE)
        return tuple(Detection("person", *(scale * value for value in box), 0.9) for box in boxes)


def stack(name: str) -> Callable[[], Detector]:
    def make() -> Detector:
        wanted = next(stack for stack in STACKS if stack.name == name)
        if not all((MODELS / file.name).exists() for file in wanted.files):
            pytest.skip(f"the files of {name} are not here")
        return open_stack(name, MODELS)

    return make


ADAPTERS = {"told": Told, **{one.name: stack(one.name) for one in STACKS}}


@pytest.fixture(scope="module", params=ADAPTERS)
def detector(request: pytest.FixtureRequest) -> Detector:
    return ADAPTERS[request.param]()


def scene(width: int = WIDTH, height: int = HEIGHT, *, stride: int = 0, index: int = 0) -> Frame:
    """The drawn stop with three people, as a frame of that size."""
    drawing = stop_scene()
    for x, feet, tall in PEOPLE:
        draw_person(drawing, x, feet, tall, (90, 60, 40), (70, 60, 56))
    packed = cv2.cvtColor(cv2.resize(drawing, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2YUV_I420)
    if not stride:
        return Frame(packed, width, height, index, index * SECOND, 0)
    tight = Frame(packed, width, height, index, index * SECOND, 0)
    wide = Frame(np.zeros((height * 3 // 2, stride), np.uint8), width, height, index, index * SECOND, 0)
    for target, plane in zip(wide.planes, tight.planes, strict=True):
        target[:] = plane
    return wide


def test_it_names_itself_and_the_hashes_of_what_it_loaded(detector: Detector) -> None:
    """Both stand in every manifest."""
    assert detector.name
    assert all(len(digest) == 64 for digest in detector.models.values())


def test_it_finds_people_where_they_are_in_pixels_of_the_frame(detector: Detector) -> None:
    for width in (WIDTH, 768):
        frame = scene(width, width * HEIGHT // WIDTH // 2 * 2)
        scale = width / WIDTH
        found = [one for one in detector.detect(frame) if one.kind == "person" and one.score >= 0.3]
        for x, feet, tall in PEOPLE:
            middle = (x * scale, (feet - tall / 2) * scale)
            assert any(
                one.left <= middle[0] <= one.right
                and one.top <= middle[1] <= one.bottom
                and one.bottom - one.top > tall * scale / 2
                for one in found
            ), (width, x)


def test_it_never_writes_to_the_frame(detector: Detector) -> None:
    frame = scene()
    before = sha256_of(frame.buffer.tobytes())
    detector.detect(frame)
    assert sha256_of(frame.buffer.tobytes()) == before


def test_the_same_picture_gives_the_same_answer(detector: Detector) -> None:
    """Whatever came between, and whatever the stride: `lykta mask` gives the same masks for the same file."""
    first = detector.detect(scene())
    detector.detect(scene(640, 360, index=1))
    assert detector.detect(scene()) == first
    assert detector.detect(scene(stride=WIDTH + 64)) == first


@pytest.mark.parametrize("size", [(2, 2), (16, 720), (1280, 8), (7680, 4320), (322, 182)])
def test_any_size_has_an_answer_that_is_none_of_the_absurd_ones(detector: Detector, size: tuple[int, int]) -> None:
    width, height = size
    rng = np.random.default_rng(3)
    buffer = rng.integers(0, 255, (height * 3 // 2, width)).astype(np.uint8)
    frame = Frame(buffer, width, height, 0, 0, 0)
    seen = look(detector, frame)
    # A frame of two pixels may have no answer; then the cause says so, and it is masked whole.
    assert seen.cause or flaw(seen.detections, width, height) == ""


@settings(max_examples=25)
@given(luma=st.integers(0, 255), chroma=st.integers(0, 255))
def test_an_even_picture_has_nobody_sure_in_it(detector: Detector, luma: int, chroma: int) -> None:
    buffer = np.full((180 * 3 // 2, 320), luma, np.uint8)
    buffer[180:] = chroma
    found = detector.detect(Frame(buffer, 320, 180, 0, 0, 0))
    assert not [one for one in found if one.kind == "person" and one.score >= 0.35]
