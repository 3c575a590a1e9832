"""The far zone: above the view's far line nothing is shown, in any profile, and the centre sees that it was painted (R46)."""

from __future__ import annotations

import json
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from privacy.masking.delay import Verdict
from privacy.masking.detection import Detection
from privacy.masking.frames import Frame
from privacy.masking.mask_record import NOTHING, SCHEMA, TONES, MaskHeader, outside_of
from privacy.masking.masker import Masker
from privacy.masking.networks.models import installed, stack_of
from privacy.masking.regions import Region
from privacy.records.basis import PROFILES, Profile, View
from privacy.records.far_zone import LEAST, FarLine, least_height
from tests.bench.far import faint, measure, rows
from tests.bench.score import FrameLabels
from tests.support.nodes import BIN, MODELS, VIDEO, Node, stop, until
from tests.support.scenes import HEIGHT, WIDTH, picture, view

SHARES = st.floats(0, 1)
LINES = st.builds(FarLine, left=SHARES, right=SHARES)
SIDES = st.integers(1, 40).map(lambda half: 2 * half)
# A corner nearer to the line than that, in shares of the height, is on it.
NEAR = 1e-9


def outside(width: int, height: int, far: FarLine) -> np.ndarray:
    return outside_of(MaskHeader(SCHEMA, width, height, "standard", None, (), far)) > 0


@given(width=SIDES, height=SIDES, far=LINES)
def test_a_pixel_is_hidden_if_any_of_it_lies_above_the_line(width: int, height: int, far: FarLine) -> None:
    """By its four corners, one pixel at a time."""
    hidden = outside(width, height, far)
    for row, column in product(range(height), range(width)):
        above = max(far.at((column + side) / width) - (row + end) / height for side, end in product((0, 1), (0, 1)))
        if above > NEAR:
            assert hidden[row, column]
        elif above < -NEAR:
            assert not hidden[row, column]


@given(width=SIDES, height=SIDES, left=SHARES, right=SHARES)
def test_a_lower_line_never_shows_more(width: int, height: int, left: float, right: float) -> None:
    near, far = outside(width, height, FarLine(left, right)), outside(width, height, FarLine(left / 2, right / 3))
    assert not (far & ~near).any()


def test_a_line_at_the_top_hides_nothing_and_one_at_the_bottom_everything() -> None:
    assert not outside(WIDTH, HEIGHT, FarLine(0, 0)).any()
    assert outside(WIDTH, HEIGHT, FarLine(1, 1)).all()


@settings(max_examples=50)
@given(far=LINES, profile=st.sampled_from(PROFILES), with_view=st.booleans())
def test_above_the_line_every_picture_is_one_tone(far: FarLine, profile: Profile, with_view: bool) -> None:
    """R46: in every profile, chroma included, whatever the picture is; below it a picture stays what it was."""
    drawn = msgspec.structs.replace(view(), far=far) if with_view else None
    masker = Masker(WIDTH, HEIGHT, drawn, profile, far)
    frame = picture(0, luma=200)
    frame.planes[1][:], frame.planes[2][:] = 90, 160
    masker.mask(frame, Verdict())
    hidden = outside(WIDTH, HEIGHT, far)
    assert (masker.outside > 0).tolist() == hidden.tolist()
    assert (frame.planes[0][hidden] == NOTHING[0]).all()
    small = hidden.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).any(axis=(1, 3))
    for plane in (1, 2):
        assert (frame.planes[plane][small] == NOTHING[plane]).all()
    if profile != "full":
        assert (frame.planes[0][~hidden] == 200).all()


def test_a_person_who_is_found_far_away_is_painted_above_it() -> None:
    """The line hides who is not found; it takes no mask away."""
    frame = picture(0)
    region = Region("person", 100, 20, 120, 60)
    masked = Masker(WIDTH, HEIGHT, None, far=FarLine(0.5, 0.5)).mask(frame, Verdict((region,)))
    assert (masked.buffer[:HEIGHT][: HEIGHT // 2] != 110).all()
    assert masked.record.boxes == (("person", 100, 20, 120, 60),)


OLD_VIEW = (
    b'{"id":"view-1","basis":"basis-1","site":"city","node":"stop-1","areas":[{"kind":"stop","paragraph":"KBL11.5b","workplace":false,'
    b'"polygon":[[0.1,0.1],[0.9,0.1],[0.8,0.9],[0.1,0.9]]}],"zones":[[[0.6,0.2],[0.8,0.2],[0.7,0.6]]]}'
)
OLD_SHA256 = "8a51a06ed4a01502c19ccf17e2ca91eeb62ba96bb049215cdbd556ae3365f6f4"


def test_a_view_without_the_line_means_what_it_meant() -> None:
    """Record, mask header and constant mask, byte for byte as they were before there was a line."""
    old = msgspec.json.decode(OLD_VIEW, type=View)
    masker = Masker(320, 180, old)
    assert old.far is UNSET
    assert msgspec.json.encode(old) == OLD_VIEW
    assert b"far" not in msgspec.json.encode(masker.header)
    assert masker.zones_sha256 == OLD_SHA256


@pytest.mark.parametrize(
    ("size", "long_side", "least"),
    [((1280, 720), 416, 148), ((640, 360), 416, 74), ((1280, 720), 320, 192), ((416, 234), 416, LEAST)],
)
def test_the_least_height_in_pixels_of_a_picture(size: tuple[int, int], long_side: int, least: int) -> None:
    assert least_height(*size, long_side) == least


# -- the view record -------------------------------------------------------------------------------------------------------


def judged(node: Node, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = node.run("check", "camera", "--json", *words)
    return done.returncode, json.loads(done.stdout)["findings"]


def test_check_warns_of_a_view_without_the_line(node: Node) -> None:
    code, (finding,) = judged(node)
    assert (code, finding["group"], finding["result"]) == (0, "camera", "warn")
    assert "has no far line" in finding["what"]
    assert "a person of 1.0 m is less than" in finding["hint"]
    assert judged(node, "--strict")[0] == 3


def test_check_says_what_the_line_hides_and_what_nobody_knows(node: Node) -> None:
    """In pixels of the camera's own picture: 48 of the 416 that the network sees are 148 of 1280; 48 of NanoDet's 320 are 192."""
    node.settings(camera__width="1280", camera__height="720")
    node.sign("view", far={"left": 0.3, "right": 0.2})
    code, (finding,) = judged(node, "--strict")
    assert (code, finding["result"]) == (0, "ok")
    assert "above 30% (left) to 20% (right)" in finding["what"]
    assert "not checked: whether people below are large enough" in finding["what"]
    least = {416: "148 pixels high in a picture of 1280x720 (21%", 320: "192 pixels high in a picture of 1280x720 (27%"}
    assert f"at least {least[stack_of(installed(MODELS)).long_side]} of its height)" in finding["hint"]


def test_check_names_an_area_of_which_nothing_is_shown(node: Node) -> None:
    areas = [
        {"kind": "stop", "paragraph": "KBL11.5b", "workplace": False, "polygon": polygon}
        for polygon in ([[0, 0.1], [0.9, 0.1], [0.9, 0.9]], [[0.1, 0.1], [0.4, 0.1], [0.4, 0.25]])
    ]
    node.sign("view", areas=areas, far={"left": 0.3, "right": 0.2})
    code, (_, hidden) = judged(node, "--strict")
    assert (code, hidden["result"]) == (3, "warn")
    assert "areas[1]: lies above the far line" in hidden["what"]


@pytest.mark.parametrize(
    ("far", "said"),
    [
        ({"left": 1.2, "right": 0.2}, "view: far: left: must be 0 to 1 of the height, from the top (got 1.2)"),
        ({"left": 0.2, "right": -0.1}, "view: far: right: must be 0 to 1 of the height, from the top (got -0.1)"),
        ({"left": 0.2}, "view: far: object missing required field `right`"),
        ({"left": 0.2, "right": "0.2"}, "view: far.right: expected `float`, got `str`"),
        ({"left": 0.2, "right": 0.2, "middle": 0.2}, "view: far: object contains unknown field `middle`"),
        (0.3, "view: far: expected `object`, got `float`"),
        (None, "view: far: expected `object`, got `null`"),
    ],
)
def test_a_line_that_is_none_is_not_signed(node: Node, far: Any, said: str) -> None:
    source = json.loads((node.centre / "view.json").read_text()) | {"far": far}
    (node.root / "view.json").write_text(json.dumps(source))
    words = ["sign", "view", node.root / "view.json", "--keys", node.centre, "-o", node.root / "view.jws", "--yes"]
    done = subprocess.run([BIN / "lykta-central", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.startswith(f"error: {said}")
    assert "\nhint: " in done.stderr
    assert not (node.root / "view.jws").exists()


def test_a_node_films_with_the_line_and_the_centre_sees_it(node: Node) -> None:
    """From the signed view to the clip: header, pixels, and `lykta-central verify`."""
    node.sign("view", far={"left": 0.5, "right": 0.3})
    service = node.start("camera")
    until(lambda: node.state("camera") == ("ready", "filming"), "the camera films")
    node.trigger()
    clip = until(node.clips, "a clip is sealed")[0]
    assert stop(service) == 0
    opened = node.root / "clip.mp4"
    for words in (["verify", clip], ["open", clip, "-o", opened]):
        done = subprocess.run([BIN / "lykta-central", *words, "--keys", node.centre], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    age = ["age", "-d", "-i", node.centre / "identity.txt", clip / "masks.age"]
    line = subprocess.run(age, capture_output=True, check=True).stdout.splitlines()[0]
    header = msgspec.json.decode(line, type=MaskHeader)
    assert header.far == FarLine(0.5, 0.3)
    for luma in lumas(opened):
        assert np.median(luma[outside_of(header) > 0]) == pytest.approx(NOTHING[0], abs=3)


def lumas(path: Path) -> list[np.ndarray]:
    """Luma as it is coded: a conversion to grey would stretch it."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)]


# -- lykta mask ------------------------------------------------------------------------------------------------------------


def mask(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "lykta", "mask", *words, "--models", MODELS], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "short.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", VIDEO, "-c:v", "libx264", "-frames:v", "12", path], check=True)
    return path


@pytest.mark.parametrize("profile", PROFILES)
def test_a_file_is_masked_above_the_line(short: Path, tmp_path: Path, profile: Profile) -> None:
    """Masks, pixels and report say so, in every profile."""
    out, masks = tmp_path / "out.mp4", tmp_path / "m.mkv"
    done = mask(short, out, "--far", "0.4", "--profile", profile, "--masks", masks, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["far"] == pytest.approx(0.4)
    assert 0.4 <= facts["painted_share_at_most"] <= 1
    rasters, pictures = lumas(masks), lumas(out)
    assert len(rasters) == len(pictures) == 12
    for raster, luma in zip(rasters, pictures, strict=True):
        end = int(raster.shape[0] * 0.4)
        assert (raster[: end + 1] == 255).all()
        shown = (raster[end + 1 :] == 0).mean()
        assert (shown > 0.5) == (profile == "standard")
        off = np.min([np.abs(luma[:end].astype(int) - tone[0]) for tone in TONES], axis=0)
        assert np.quantile(off, 0.99) <= 12


def test_without_the_line_the_report_says_none(short: Path, tmp_path: Path) -> None:
    done = mask(short, tmp_path / "out.mp4", "--json")
    assert json.loads(done.stdout)["far"] is None
    assert "height" not in mask(short, tmp_path / "other.mp4").stdout
    assert "above 0.25 of the height all is masked" in mask(short, tmp_path / "far.mp4", "--far", "0.25").stdout


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "inf"])
def test_a_height_outside_the_picture_is_refused(short: Path, tmp_path: Path, value: str) -> None:
    done = mask(short, tmp_path / "out.mp4", f"--far={value}")
    assert done.returncode == 2
    assert f"error: mask: --far: must be 0 to 1 of the height, from the top (got {float(value)})" in done.stderr
    assert "\nhint: " in done.stderr
    assert not (tmp_path / "out.mp4").exists()


# -- how small is too small ------------------------------------------------------------------------------------------------


class Shortsighted:
    """Finds whom it is told of, from some height in the picture on."""

    name, parts = "shortsighted", ()

    def __init__(self, least: float) -> None:
        self.models: dict[str, str] = {}
        self._least = least

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        return tuple(Detection("person", x, y, x + w, y + h, 0.9) for x, y, w, h in PEOPLE if h >= self._least)


PEOPLE = np.array([[10, 20, 10, 20], [60, 20, 15, 40], [120, 20, 30, 80], [200, 20, 35, 100]], np.float64)


def test_the_table_says_from_which_height_people_are_found() -> None:
    """In net pixels: at half the size of the picture a person of 40 is one of 20."""
    labels = {number: FrameLabels(("1", "2", "3", "4"), PEOPLE, np.empty((0, 4))) for number in (1, 2)}
    frames = [picture(0), picture(1)]
    found = list(rows(measure(Shortsighted(50), WIDTH // 2, frames, labels)))
    assert [(row.least, row.tracks, row.person.hits, row.person.of) for row in found] == [
        (8, 1, 0, 2), (20, 1, 0, 2), (32, 1, 2, 2), (48, 1, 2, 2)
    ]  # fmt: skip
    assert all(row.head.hits == row.person.hits for row in found)


def test_a_faint_frame_keeps_its_mean_and_a_third_of_its_contrast() -> None:
    frame = picture(0, luma=100)
    frame.planes[0][:, : WIDTH // 2] = 200
    frame.planes[1][:] = 30
    grey = faint(frame)
    assert (grey.planes[0][0, 0], grey.planes[0][0, -1]) == (165, 135)
    assert (grey.planes[1] == 128).all()
    assert frame.planes[0][0, 0] == 200
