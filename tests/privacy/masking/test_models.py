"""Model files: pinned, had from three kinds of source, never used with other bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drivers.media.video import VideoFile
from privacy.errors import DetectorError, ModelError
from privacy.masking.frames import Frame
from privacy.masking.networks.detectors import StackDetector, analysis_image, open_stack
from privacy.masking.networks.inference import Inference
from privacy.masking.networks.models import STACKS, installed, load_files, sha256_of, stack_of
from provisioning.setup.models import CONVERSIONS
from tests.support.nodes import MODELS, PROJECT, VIDEO
from tests.support.scenes import painted

SHARED = PROJECT.parent / "shared/models"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the weights in ../shared/models")


def first_frame() -> Frame:
    video = VideoFile(VIDEO)
    video.open()
    frame = video.capture()
    assert frame is not None
    return frame


def setup(*words: str | Path, models: Path | str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "provisioning.setup.run", "--video", VIDEO, *words]
    environment = os.environ | {"LYKTA_MODELS": str(models)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=PROJECT, check=False)


def test_set_up_again_changes_nothing() -> None:
    before = {path: path.stat().st_mtime_ns for path in MODELS.iterdir()}
    done = setup()
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in MODELS.iterdir()} == before


def test_torn_and_absent_files_are_not_loaded(tmp_path: Path) -> None:
    stack = stack_of(installed(MODELS))
    for file in stack.files:
        (tmp_path / file.name).write_bytes((MODELS / file.name).read_bytes())
    assert set(load_files(tmp_path, stack)) == {file.name for file in stack.files}
    victim = tmp_path / stack.files[-1].name
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(ModelError, match="sha256"):
        open_stack(stack.name, tmp_path)
    victim.unlink()
    with pytest.raises(ModelError, match="No such file"):
        open_stack(stack.name, tmp_path)
    with pytest.raises(ModelError, match="no complete stack"):
        installed(tmp_path)


def test_every_file_is_pinned() -> None:
    """Each fetched and each loaded file has a hash, a licence and a place to come from."""
    assert len(STACKS) > 1
    for stack in STACKS:
        assert stack.files
        for file in stack.files:
            assert file.sources
            assert len(file.sha256) == 64
            assert file.licence
            assert file.conversion in CONVERSIONS
            for source in file.sources:
                assert len(source.sha256) == 64
                assert source.upstream or source.carrier


@needs_shared
@pytest.mark.parametrize("name", ["rtmdet-nano+yolox-nano+yunet", "yolox-nano+yunet"])
def test_the_folder_is_the_first_source_and_conversion_is_the_pinned_one(name: str, tmp_path: Path) -> None:
    done = setup("--models", tmp_path, "--stack", name, models=SHARED)
    assert done.returncode == 0, done.stderr
    assert "from LYKTA_MODELS" in done.stderr
    assert installed(tmp_path) == name
    load_files(tmp_path, stack_of(name))


@needs_shared
def test_where_a_network_cannot_be_had_the_next_stack_is_taken_and_it_is_said(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for name in ("yolox_nano.onnx", "yunet_n_640_640.onnx"):
        (given / name).write_bytes((SHARED / name).read_bytes())
    done = setup("--models", tmp_path / "out", models=given)
    assert done.returncode == 0, done.stderr
    taken = installed(tmp_path / "out")
    assert (taken == "yolox-nano+yunet") == ("rtmdet-nano+yolox-nano+yunet: rtmdet_nano_person.onnx: not available" in done.stderr)


def test_wrong_bytes_in_the_folder_are_refused(tmp_path: Path) -> None:
    """They are never used; where no other source can be reached, the set-up says what it refused and places nothing."""
    stack = stack_of("yolox-nano+yunet")
    for file in stack.files:
        (tmp_path / file.name).write_bytes(b"not the pinned bytes")
    done = setup("--models", tmp_path / "out", "--stack", "yolox-nano+yunet", models=tmp_path)
    assert "yolox_nano.onnx: LYKTA_MODELS has other bytes than the pinned ones; refused" in done.stderr
    placed = {path.name: sha256_of(path.read_bytes()) for path in (tmp_path / "out").iterdir()}
    assert placed == ({} if done.returncode else {file.name: file.sha256 for file in stack.files})


def test_people_are_found_where_they_are_and_the_frame_is_left_alone() -> None:
    """The port's promises, on the demo video's first picture, where eight people stand (labels of the data set)."""
    frame = first_frame()
    before = sha256_of(frame.buffer.tobytes())
    detector = open_stack(installed(MODELS), MODELS)
    found = detector.detect(frame)
    assert sha256_of(frame.buffer.tobytes()) == before
    assert detector.models == {file.name: file.sha256 for file in stack_of(detector.name).files}
    regions = painted(tuple(one for one in found if one.kind == "person"), frame.width, frame.height)
    for x, y in ((514, 164), (274, 226)):  # two heads of frame 1
        assert any(r.left <= x <= r.right and r.top <= y <= r.bottom for r in regions)


def test_a_wider_stride_gives_the_same_detections() -> None:
    frame = first_frame()
    wide = np.zeros((frame.height * 3 // 2, frame.width + 64), np.uint8)
    other = Frame(wide, frame.width, frame.height, 0, 0, 0)
    for plane, target in zip(frame.planes, other.planes, strict=True):
        target[:] = plane
    detector = open_stack(installed(MODELS), MODELS)
    assert detector.detect(other) == detector.detect(frame)


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (640, 360), (320, 180), (720, 1280)])
def test_the_analysis_picture_fits_the_network(size: tuple[int, int]) -> None:
    width, height = size
    frame = Frame(np.full((height * 3 // 2, width), 90, np.uint8), width, height, 0, 0, 0)
    image, scale = analysis_image(frame, 416)
    assert image.shape[0] % 32 == image.shape[1] % 32 == 0
    assert max(image.shape) == 416
    assert scale == 416 / max(size)


class Finds:
    """A network that finds these people in every picture, in its pixels."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self._boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def find(self, _image: object, _dim: bool) -> list[tuple[str, np.ndarray, np.ndarray]]:
        return [("person", self._boxes, np.ones(len(self._boxes), np.float32))]


def test_whom_two_networks_find_is_one_person_and_whom_either_finds_is_one_too() -> None:
    first = Finds((10, 10, 30, 60))
    second = Finds((12, 11, 31, 62), (100, 10, 120, 60))
    detector = StackDetector("two", {}, {"first": first, "second": second}, None, 320)  # type: ignore[arg-type]
    found = detector.detect(first_frame())
    scale = 320 / first_frame().width
    assert [round(one.left * scale) for one in found] == [10, 100]
    alone = {part.name: [round(one.left * scale) for one in part.detect(first_frame())] for part in detector.parts}
    assert alone == {"first": [10], "second": [12, 100]}


def faded(contrast: float) -> Frame:
    """The first picture of the demo video as in fog: all of it nearer to light grey, noise of one level added."""
    frame = first_frame()
    noise = np.random.default_rng(1).integers(-1, 2, frame.planes[0].shape)
    for plane, to in zip(frame.planes, (150, 128, 128), strict=True):
        plane[:] = np.round((plane.astype(float) - to) * contrast + to)
    frame.planes[0][:] = frame.planes[0] + noise
    return frame


def test_people_in_fog_are_found() -> None:
    """At a twentieth of the contrast the same two heads; a picture of usual contrast is left as it is."""
    found = open_stack(installed(MODELS), MODELS).detect(faded(0.05))
    frame = first_frame()
    regions = painted(tuple(one for one in found if one.kind == "person"), frame.width, frame.height)
    for x, y in ((514, 164), (274, 226)):
        assert any(r.left <= x <= r.right and r.top <= y <= r.bottom for r in regions)
    assert (analysis_image(frame, 416, faint=True)[0] == analysis_image(frame, 416)[0]).all()


def test_an_output_that_is_no_number_is_an_error_not_an_empty_street() -> None:
    class Broken:
        def find(self, image: object, dim: bool) -> list[tuple[str, np.ndarray, np.ndarray]]:
            return [("person", np.full((1, 4), np.nan, np.float32), np.ones(1, np.float32))]

    detector = StackDetector("broken", {}, {"broken": Broken()}, Broken(), 320)  # type: ignore[arg-type]
    with pytest.raises(DetectorError, match="not finite"):
        detector.detect(first_frame())


def test_a_network_whose_outputs_are_no_numbers_is_an_error(tmp_path: Path) -> None:
    """Whatever the network: a heat map of NaN was an empty street."""
    from onnx import TensorProto, helper

    name = "picture"
    nodes = [helper.make_node("Sub", [name, name], ["zero"]), helper.make_node("Div", ["zero", "zero"], ["none"])]
    shape = [1, 3, "height", "width"]
    put, out = (helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one in (name, "none"))
    made = helper.make_model(
        helper.make_graph(nodes, "nan", [put], [out]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    with pytest.raises(DetectorError, match="not finite"):
        Inference(made.SerializeToString()).run(np.ones((1, 3, 4, 4), np.float32))
