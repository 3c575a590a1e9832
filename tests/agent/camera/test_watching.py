"""The view on the node: what the guard takes it for is told, journalled, hides the picture, and waits for a word (R06, R24)."""

from __future__ import annotations

import json
import sqlite3
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from agent.camera.view_check import ViewCheck
from agent.messages import Tamper
from agent.runtime.requests import Confirmed, ConfirmView, ShowView
from privacy.errors import MediaError, UsageError
from privacy.masking.delay import SECOND, Seen, Verdict
from privacy.masking.mask_record import NOTHING
from privacy.masking.masker import Masker
from privacy.masking.reference_picture import Reference
from privacy.masking.regions import Region
from tests.support.clip_node import ClipNode
from tests.support.home import HEIGHT, WIDTH, Events, shots
from tests.support.nodes import Node, stop, until
from tests.support.tampering import BAD, Change, same, shifted

SIZE = (WIDTH, HEIGHT)


class Stop:
    """A watched stop: pictures of it go in, what was told comes out."""

    def __init__(self, clip_node: ClipNode, view: str = "view-1") -> None:
        self.clip_node, self.at = clip_node, 0.0
        custody = clip_node.custody()
        self.watching = ViewCheck(
            custody.telling, custody.keeper.now, clip_node.node.layout.camera, view, lambda work: work(), False
        )
        self.empty = next(shots(Events(people=False), 1)).frame.planes[0].copy()

    def look(self, seconds: float, change: Change = same) -> str:
        """Why all is masked after so many seconds of this."""
        picture = cv2.resize(change(self.empty.copy()), (160, 90), interpolation=cv2.INTER_AREA)
        for _ in range(round(seconds * 2)):
            self.at += 0.5
            cause = self.watching.seen(Seen(round(self.at * SECOND), luma=picture), SIZE, round(self.at * SECOND))
        return cause

    def told(self) -> list[tuple[str, str]]:
        with sqlite3.connect(self.clip_node.node.layout.outbox) as database:
            rows = database.execute("SELECT tail, payload FROM messages ORDER BY seq").fetchall()
        bodies = [(tail, json.loads(payload)["body"] if payload else {}) for tail, payload in rows]
        return [(tail, body.get("action") or body.get("reason") or "") for tail, body in bodies]


def test_a_moved_camera_hides_all_tells_and_waits(clip_node: ClipNode) -> None:
    """R06: full mask and alarm until a technician confirms; journalled with the name."""
    stop = Stop(clip_node)
    assert stop.look(120) == ""
    assert stop.look(150, shifted(60, 0)) == "view_moved"
    assert stop.told() == [("event/tamper", "found"), ("alarm/tamper", "moved")]
    assert stop.look(100) == "view_moved"
    assert stop.watching.confirm(ConfirmView("tess")) == Confirmed()
    assert stop.look(100) == ""
    assert stop.told()[2:] == [("event/tamper", "confirmed"), ("alarm/tamper", "")]
    assert clip_node.kinds() == ["tamper", "view_confirmed"]
    with pytest.raises(UsageError, match="nothing to confirm"):
        stop.watching.confirm(ConfirmView())


def test_a_covered_lens_heals_and_says_so(clip_node: ClipNode) -> None:
    stop = Stop(clip_node)
    stop.look(120)
    assert stop.look(40, BAD["a hand before the lens"][1]) == "view_covered"
    assert stop.look(70) == ""
    assert [action for _, action in stop.told()] == ["found", "covered", "over", ""]
    assert clip_node.kinds() == ["tamper", "tamper_over"]


def test_edges_outlive_a_restart_and_end_with_their_view(clip_node: ClipNode) -> None:
    """A camera turned while it was off is found; a newly signed view begins anew."""
    stop = Stop(clip_node)
    stop.look(120)
    stop.watching.save()
    assert Stop(clip_node).look(150, shifted(60, 0)) == "view_moved"
    assert Stop(clip_node, "view-2").look(150, shifted(60, 0)) == ""
    (kept,) = clip_node.node.layout.camera.iterdir()
    assert kept.stat().st_size < WIDTH * HEIGHT
    kept.write_bytes(b"torn")
    assert Stop(clip_node).look(60) == ""
    assert "view_reference_torn" in clip_node.kinds()


def test_the_reference_picture_shows_the_stop_and_nobody(clip_node: ClipNode) -> None:
    """R24: made of masked frames only; who waited all the time is a hole in it."""
    stop, masker = Stop(clip_node), Masker(WIDTH, HEIGHT, None)
    with pytest.raises(MediaError, match="no reference picture yet"):
        stop.watching.show(ShowView())
    for shot in shots(Events(), 200):
        if shot.second % 1 == 0:
            boxes = tuple(Region("person", *box) for box in shot.persons)
            stop.watching.painted(masker.mask(shot.frame, Verdict(boxes)), masker)
    answer = stop.watching.show(ShowView())
    picture = cv2.imdecode(np.frombuffer(answer.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture.shape == (HEIGHT, WIDTH)
    assert (answer.kind, answer.hides) == ("", False)
    away = np.ones((HEIGHT, WIDTH), bool)
    away[85:145, 130:170] = False  # somebody waits there from minute two on
    away[55:115, 280:315] = False  # the advertisement
    # JPEG and video scale luma differently: compare the pattern, not the level.
    like = np.corrcoef(picture[away].astype(float), stop.empty[away].astype(float))[0, 1]
    assert like > 0.97
    assert not (np.abs(picture.astype(int) - 205) < 6)[90:150].mean() > 0.2


def test_the_reference_picture_takes_nothing_that_only_looks_masked() -> None:
    """R24: the run-time half; a frame that says of itself what a masked one says is none."""
    raw, reference = next(shots(Events(), 1)).frame, Reference()
    alike = SimpleNamespace(full=False, buffer=raw.buffer, width=raw.width, height=raw.height, mono_ns=raw.mono_ns)
    with pytest.raises(TypeError, match="only a MaskedFrame"):
        reference.add(alike, np.zeros((HEIGHT, WIDTH), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="no reference picture yet"):
        reference.jpeg()


def test_what_was_never_seen_clear_stays_dark() -> None:
    reference, masker = Reference(), Masker(WIDTH, HEIGHT, None)
    for shot in shots(Events(people=False), 3):
        masked = masker.mask(shot.frame, Verdict((Region("person", 100, 40, 160, 140),)))
        reference.add(masked, masker.raster(masked.record))
    picture = cv2.imdecode(np.frombuffer(reference.jpeg(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.abs(picture[50:130, 110:150].astype(int) - (NOTHING[0] - 16) * 255 / 219).max() < 12


def test_a_technician_looks_and_has_nothing_to_confirm(node: Node) -> None:
    """The real service on pedestrian video: `lykta view show` writes a picture, `confirm` refuses while nothing moved."""
    service = node.start("camera")
    until(lambda: node.state("camera")[0] == "ready", "ready")
    target = node.root / "view.jpg"
    done = until(lambda: (d := node.run("view", "show", str(target), "--json")).returncode == 0 and d, "a reference picture")
    assert json.loads(done.stdout) == {"schema": "lykta.view/1", "view": "as known", "hides": False, "picture": str(target)}
    assert cv2.imread(str(target)).shape[1] == 320
    done = node.run("view", "confirm")
    assert done.returncode == 1
    assert "nothing to confirm" in done.stderr
    assert stop(service) == 0


def test_tamper_has_a_topic_of_its_own() -> None:
    from datetime import UTC, datetime

    assert Tamper("moved", "found", datetime.now(UTC)).tail == "event/tamper"
