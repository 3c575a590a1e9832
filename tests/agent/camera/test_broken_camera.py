"""A camera that is there and not right: stamps, buffers and pictures that cannot be (14.D15, promise 1).

The service is the real one, with source "picamera2"; what it imports by that name is a stand-in, since no camera does this
when it is asked to.
"""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera.port import Stamps
from privacy.masking.frames import Frame
from privacy.masking.frozen_camera import FROZEN_NS, FrozenWatch, fingerprint
from tests.support.broker import PATIENCE
from tests.support.nodes import PROJECT, Node, stop, until

STAND_IN = {"PYTHONPATH": str(PROJECT / "tests/support/stand_in")}
FLAWS = ["equal", "back", "zero", "none", "text", "short"]


def started(node: Node, flaw: str, every: int = 1):  # type: ignore[no-untyped-def]
    node.settings(camera__source='"picamera2"', camera__width="640", camera__height="360", camera__fps="15")
    return node.start("camera", **STAND_IN, LYKTA_CAMERA_FLAW=flaw, LYKTA_CAMERA_EVERY=str(every))


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_broken_picture_is_dropped_and_counted(node: Node, flaw: str) -> None:
    """A stamp that goes back ended the service in the encoder; a short buffer in a ValueError."""
    service = started(node, flaw, every=5)
    until(lambda: node.status("camera").get("detail", {}).get("pictures_broken", 0) > 3, "broken pictures are counted")
    until(lambda: node.state("camera") == ("ready", "filming"), "it films on")
    assert stop(service) == 0
    assert "Traceback" not in node.log()


@pytest.mark.parametrize("flaw", FLAWS)
def test_several_in_a_row_are_a_lost_camera(node: Node, flaw: str) -> None:
    service = started(node, flaw)
    assert service.wait(PATIENCE * 120) == 1
    assert "error: picamera2: 5 broken pictures in a row" in node.log()
    assert "\nhint: " in node.log()
    assert "Traceback" not in node.log()


def test_a_camera_that_repeats_itself_is_blind_and_says_so(node: Node) -> None:
    """A hung driver, or a signal that somebody feeds in, showed an empty stop for ever while the node said `ready`."""
    service = started(node, "repeats")
    until(lambda: node.state("camera") == ("blind", "camera_frozen"), "blind", 60)
    assert node.status("camera")["standing"]["owner"] == "technician"
    until(lambda: ("event/tamper", "frozen") in told(node), "it is told")
    full = until(lambda: node.status("camera")["detail"]["full_by_cause"].get("camera_frozen", 0), "pictures are fully masked")
    assert full > 0
    assert stop(service) == 0


def told(node: Node) -> set[tuple[str, str]]:
    with sqlite3.connect(f"file:{node.layout.outbox}?mode=ro", uri=True) as outbox:
        rows = outbox.execute("SELECT tail, payload FROM messages WHERE payload != ''").fetchall()
    return {(tail, json.loads(payload)["body"].get("kind", "")) for tail, payload in rows}


def test_only_a_file_may_be_without_noise(node: Node) -> None:
    node.settings(camera__noiseless="true")
    assert node.run("config", "validate").returncode == 0
    node.settings(camera__source='"picamera2"')
    done = node.run("config", "validate")
    assert done.returncode == 5
    assert "camera.noiseless: must be false" in done.stderr


@pytest.mark.parametrize(("level", "tells"), [(0, False), (16, False), (23, False), (25, True), (200, True)])
def test_in_the_dark_identical_pictures_prove_nothing(level: int, tells: bool) -> None:
    """A clipped sensor gives the same black picture all night."""
    frame = Frame(np.full((36, 32), level, np.uint8), 32, 24, 0, 1, 1)
    assert (fingerprint(frame) is not None) == tells


PRINTS = st.lists(st.tuples(st.sampled_from([None, 1, 2]), st.integers(1, FROZEN_NS)), max_size=40)


@given(PRINTS)
def test_frozen_means_the_same_picture_for_ten_seconds(prints: list[tuple[int | None, int]]) -> None:
    watch, at_ns, since = FrozenWatch(), 0, 0
    before: int | None = None
    for print_, passed in prints:
        at_ns += passed
        if print_ is None or print_ != before:
            since = at_ns
        before = print_
        assert watch.see(print_, at_ns) == (print_ is not None and at_ns - since >= FROZEN_NS)


@given(st.lists(st.integers(-5, 2_000_000_000) | st.none() | st.text(max_size=3) | st.floats(), max_size=40))
def test_stamps_that_are_let_through_rise(stamps: list[object]) -> None:
    found, now_ns = Stamps(), 1_000_000_000
    good = [stamp for stamp in stamps if not found.flaw(stamp, now_ns)]
    assert all(isinstance(stamp, int) and 0 < stamp <= 2 * now_ns for stamp in good)
    assert good == sorted(set(good))  # type: ignore[type-var]
