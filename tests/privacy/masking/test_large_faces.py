"""A large face that nothing else speaks for is not painted; whatever speaks for it keeps it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from privacy.masking.detection import Kind
from privacy.masking.frames import Frame, Plane
from privacy.masking.networks.decoders import YuNet
from privacy.masking.networks.detectors import FaceNetwork, Network, StackDetector
from privacy.masking.networks.large_faces import LARGE, Bits, Boxes, believed
from privacy.masking.networks.models import installed
from privacy.masking.self_test import draw_face
from tests.support.nodes import MODELS

IMAGE = np.full((256, 416, 3), 130, np.uint8)
FACE = (100.0, 60.0, 200.0, 180.0)
SMALL = (10.0, 10.0, 60.0, 70.0)
NOBODY = np.empty((0, 4), np.float32)


def boxes(*corners: tuple[float, float, float, float]) -> Boxes:
    return np.array(corners, np.float32).reshape(-1, 4)


def never(_image: Plane, _faces: Boxes) -> Bits:
    raise AssertionError("nothing was in doubt")


def no(_image: Plane, faces: Boxes) -> Bits:
    return np.zeros(len(faces), bool)


def yes(_image: Plane, faces: Boxes) -> Bits:
    return np.ones(len(faces), bool)


def area(corners: tuple[float, float, float, float]) -> float:
    left, top, right, bottom = corners
    return (right - left) * (bottom - top) / (IMAGE.shape[0] * IMAGE.shape[1])


def test_small_faces_are_believed_without_a_second_look() -> None:
    assert area(SMALL) < LARGE < area(FACE)
    assert believed(IMAGE, boxes(SMALL), NOBODY, never).all()
    assert believed(IMAGE, NOBODY, NOBODY, never).shape == (0,)


def test_a_large_face_needs_a_second_look_or_a_person() -> None:
    assert believed(IMAGE, boxes(FACE, SMALL), NOBODY, no).tolist() == [False, True]
    assert believed(IMAGE, boxes(FACE, SMALL), NOBODY, yes).tolist() == [True, True]


@pytest.mark.parametrize(
    ("person", "speaks"),
    [
        ((80.0, 40.0, 230.0, 256.0), True),
        # Eight tenths of the face, around its middle: a network that sees the head alone.
        ((110.0, 70.0, 191.0, 167.0), True),
        # Somebody small, far behind the place of the face.
        ((140.0, 100.0, 160.0, 150.0), False),
        # Somebody large beside it.
        ((210.0, 40.0, 360.0, 256.0), False),
    ],
)
def test_a_person_speaks_for_a_face_at_their_place_and_of_their_size(person: tuple[float, ...], speaks: bool) -> None:
    assert believed(IMAGE, boxes(FACE), boxes(person), never if speaks else no).tolist() == [speaks]  # type: ignore[arg-type]


class People:
    """A network for people that finds these, in its pixels."""

    def __init__(self, *found: tuple[float, float, float, float]) -> None:
        self._found = boxes(*found)

    def find(self, image: Plane, dim: bool) -> list[tuple[Kind, Boxes, npt.NDArray[np.float32]]]:
        return [("person", self._found, np.ones(len(self._found), np.float32))]


class Wall:
    """A network for faces that takes a wall for one, at full size alone."""

    def find(self, image: Plane, dim: bool) -> list[tuple[Kind, Boxes, npt.NDArray[np.float32]]]:
        return [("face", boxes(FACE, SMALL), np.array((0.7, 0.4), np.float32))]

    def again(self, image: Plane, faces: Boxes) -> Bits:
        return np.zeros(len(faces), bool)


def street(index: int = 0) -> Frame:
    return Frame(np.full((256 * 3 // 2, 416), 130, np.uint8), 416, 256, index, index, 0)


def faces_of(people: dict[str, Network], faces: FaceNetwork) -> list[float]:
    detector = StackDetector("", {}, people, faces, 416)
    return sorted(one.left for one in detector.detect(street()) if one.kind == "face")


def test_two_networks_that_find_nobody_there_outvote_a_large_face() -> None:
    around = People((80.0, 40.0, 230.0, 256.0))
    assert faces_of({"a": People(), "b": People()}, Wall()) == [SMALL[0]]
    assert faces_of({"a": around, "b": People()}, Wall()) == [SMALL[0], FACE[0]]
    assert faces_of({"a": People(), "b": around}, Wall()) == [SMALL[0], FACE[0]]


def test_one_network_is_not_enough_to_doubt_a_face() -> None:
    assert faces_of({"a": People()}, Wall()) == [SMALL[0], FACE[0]]


@pytest.mark.parametrize("size", [90, 130, 170])
def test_a_drawn_face_is_found_at_half_the_size_and_nothing_beside_it(size: int) -> None:
    """The real network; its threshold is as before afterwards."""
    if "yunet" not in installed(MODELS):
        pytest.skip("the installed stack has another network for faces")
    network = YuNet((MODELS / "yunet_n_640_640.onnx").read_bytes())
    scene = IMAGE.copy()
    draw_face(scene, 208, 120, size)
    found = network.find(scene, dim=False)
    [(_, faces, scores)] = found
    assert len(faces) == 1
    assert network.again(scene, np.vstack((faces, faces + np.float32(size)))).tolist() == [True, False]
    [(_, after, again)] = network.find(scene, dim=False)
    assert np.allclose(after, faces)
    assert np.allclose(again, scores)
