"""The self-test finds what is broken, and the leak audit finds who is bare (R25, R40)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from privacy.audit import EVERY_NS, LONG_SIDE, WAITING, LeakAudit
from privacy.delay import Verdict
from privacy.detection import Detection, Detector
from privacy.errors import ModelError
from privacy.frames import Frame, MaskedFrame
from privacy.inference import Inference
from privacy.masking import Masker
from privacy.models import installed
from privacy.regions import enclose
from privacy.self_test import HEIGHT, PEOPLE, WIDTH, boxes, picture, require, run
from privacy.stacks import YoloxNano, open_stack
from tests.broker import PATIENCE
from tests.nodes import BIN, MODELS, PROJECT, Node
from tests.scenes import GarbageDetector, NaNDetector, RaisingDetector


@pytest.fixture(scope="module")
def stack() -> Detector:
    return open_stack(installed(MODELS), MODELS)


class Altered:
    """The real stack, whose answer is altered on its way."""

    def __init__(self, stack: Detector, alter: Callable[[Detection], Detection | None]) -> None:
        self.name, self.models, self._stack, self._alter = stack.name, stack.models, stack, alter

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        altered = (self._alter(one) for one in self._stack.detect(frame))
        return tuple(one for one in altered if one is not None)


def tall(one: Detection) -> float:
    return one.bottom - one.top


def test_the_shipped_stack_passes(stack: Detector) -> None:
    checks = require(stack)
    assert len(checks) == 2 * len(PEOPLE) + 1
    assert [check.name for check in checks][-1] == "painting"


FAULTS: dict[str, tuple[str, Callable[[Detection], Detection | None]]] = {
    "misses the largest": (f"person of {PEOPLE[2][2]}", lambda one: None if tall(one) > 250 else one),
    "misses the smallest": (f"person of {PEOPLE[0][2]}", lambda one: None if tall(one) < 190 else one),
    "is unsure": ("person of", lambda one: replace(one, score=one.score / 2)),
    "shifts boxes": ("stored output", lambda one: replace(one, left=one.left + 9, right=one.right + 9)),
    "sees half of everybody": ("person of", lambda one: replace(one, bottom=one.top + tall(one) / 2.5)),
    "takes people for vehicles": ("person of", lambda one: replace(one, kind="vehicle")),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_altered_answer_fails_the_right_check(stack: Detector, case: str) -> None:
    name, alter = FAULTS[case]
    failed = [check.name for check in run(Altered(stack, alter)) if not check.passed]
    assert any(check.startswith(name) for check in failed), failed
    with pytest.raises(ModelError, match="self-test"):
        require(Altered(stack, alter))


@pytest.mark.parametrize("broken", [RaisingDetector, NaNDetector, GarbageDetector])
def test_a_broken_detector_is_a_failed_check_and_no_crash(broken: type[Detector]) -> None:
    (check,) = run(broken())
    assert (check.name, check.passed) == ("detector", False)


def test_a_detector_without_stored_outputs_is_judged_by_what_it_finds() -> None:
    """An AI camera: no network of ours, no stored answers."""

    class Told(RaisingDetector):
        name = "ai camera"

        def detect(self, frame: Frame) -> tuple[Detection, ...]:
            return tuple(Detection("person", *box, 0.9) for box in boxes())

    assert [check.name for check in require(Told())][-1] == "painting"


def test_changed_weights_are_noticed() -> None:
    """The same network with noise of two hundredths on its weights, past the hashes: the stored outputs tell."""
    import onnx
    from onnx import numpy_helper

    path = MODELS / "yolox_nano.onnx"
    if not path.exists():
        pytest.skip("needs the first stack's weights")
    model, rng = onnx.load(path), np.random.default_rng(4)
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.ndim == 4:
            noisy = values * (1 + 0.05 * rng.standard_normal(values.shape))
            weights.CopyFrom(numpy_helper.from_array(noisy.astype(values.dtype), weights.name))
    stack = open_stack("yolox-nano+yunet", MODELS)
    stack._people = (YoloxNano(Inference(model.SerializeToString())),)  # type: ignore[attr-defined]
    assert [check.name for check in run(stack) if not check.passed]


def test_the_command_says_what_it_tested(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    words = [BIN / "lykta", "--root", tmp_path, "selftest", "--models", MODELS, "--report", report, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said == json.loads(report.read_text())
    assert (said["schema"], said["passed"]) == ("lykta.selftest/1", True)
    assert len(said["checks"]) == 7


def test_a_node_whose_mask_fails_the_test_never_opens_the_lens(node: Node) -> None:
    """R25: exit 5, with the check's name; systemd does not start it again."""
    words = [sys.executable, "-m", "tests.broken_camera", "RaisingDetector", "at-start"]
    environment = os.environ | {"LYKTA_ROOT": str(node.root)}
    done = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=PATIENCE * 60, check=False)
    assert done.returncode == 5
    assert "self-test: detector: RuntimeError" in done.stderr
    assert "camera open" not in done.stderr


# The audit


def masked(index: int, *, leave: int | None = None) -> tuple[MaskedFrame, np.ndarray]:
    """The drawn people, masked but for one; with the raster of what is painted."""
    drawn = picture()
    frame = Frame(drawn.buffer, WIDTH, HEIGHT, index, index * EVERY_NS, index)
    masker = Masker(WIDTH, HEIGHT, None)
    regions = [enclose("person", (b[0] - 20, b[1] - 20, b[2] + 20, b[3] + 20), WIDTH, HEIGHT) for b in boxes()]
    out = masker.mask(frame, Verdict(tuple(region for n, region in enumerate(regions) if n != leave)))
    return out, masker.raster(out.record)


@pytest.fixture(scope="module")
def sharper() -> Detector:
    return open_stack(installed(MODELS), MODELS, 1, LONG_SIDE)


@pytest.mark.parametrize("leave", [0, 1])
def test_somebody_left_bare_is_a_candidate(sharper: Detector, leave: int) -> None:
    """The two smaller ones: drawn people of 300 pixels are found at the masking size and not at the larger one."""
    audit = LeakAudit(sharper)
    audit.take(*masked(7, leave=leave))
    found = audit.step()
    assert {(one.frame, one.wall_ns) for one in found} == {(7, 7)}
    assert {one.visible for one in found} <= {"person", "face"}
    assert audit.step() == ()


def test_masked_people_are_none(sharper: Detector) -> None:
    audit = LeakAudit(sharper)
    audit.take(*masked(1))
    assert audit.step() == ()
    assert (audit.looked, audit.dropped, audit.failed) == (1, 0, 0)


def test_the_sample_is_bounded_small_and_forgotten(sharper: Detector) -> None:
    """At most four wait, at their small size; what does not fit is counted; what was looked at is zero."""
    audit, frames = LeakAudit(sharper), []

    class Keeping(Altered):
        def detect(self, frame: Frame) -> tuple[Detection, ...]:
            frames.append(frame)
            return super().detect(frame)

    audit = LeakAudit(Keeping(sharper, lambda one: one))
    for index in range(WAITING + 3):
        assert audit.due(index * EVERY_NS)
        audit.take(*masked(index))
        assert not audit.due(index * EVERY_NS + EVERY_NS - 1)
    assert audit.dropped == 3
    for _ in range(WAITING):
        audit.step()
    assert [frame.index for frame in frames] == list(range(WAITING))
    assert all(frame.width <= LONG_SIDE and not frame.buffer.any() for frame in frames)


def test_an_audit_that_fails_is_counted(stack: Detector) -> None:
    audit = LeakAudit(RaisingDetector())
    audit.take(*masked(0, leave=0))
    assert audit.step() == ()
    assert audit.failed == 1
