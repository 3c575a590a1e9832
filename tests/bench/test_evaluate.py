"""`make evaluate` on a drawn street: real `lykta mask`, real scores, files to look at; and one clear error for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from privacy.masking.networks.models import STACKS
from tests.bench.evaluate import OUTSIDE, RED, SHARED, choose
from tests.bench.score import FrameLabels, score, score_frames
from tests.support.broker import PATIENCE
from tests.support.nodes import PROJECT
from tests.support.picture import draw_person, stop_scene

FRAMES, FPS = 30, 10
WIDTH, HEIGHT = 640, 360
GHOST = (20.0, 10.0, 30.0, 60.0)
"""A label in the empty sky: nobody masks what is not there."""


def evaluate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench.evaluate", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=PATIENCE * 120, check=False)


def walker(number: int) -> tuple[int, int, int]:
    """Middle, feet and height of somebody who walks to the right, in pixels of the drawn scene."""
    return 260 + 12 * number, 470, 220


def draw(path: Path) -> Path:
    """The drawn stop with one person walking past it."""
    words = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS),
             "-i", "-", "-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv420p", str(path)]  # fmt: skip
    pictures = []
    for number in range(FRAMES):
        scene = stop_scene()
        draw_person(scene, *walker(number), (40, 40, 150), (70, 60, 56))
        pictures.append(cv2.resize(scene, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).tobytes())
    subprocess.run(words, input=b"".join(pictures), check=True)
    return path


def label(path: Path, *, ghost: bool) -> Path:
    """Labels of the walker, and of somebody who is not there."""
    scale, rows = WIDTH / 960, ["frame,id,x,y,w,h,conf,class"]
    for number in range(FRAMES):
        middle, feet, tall = walker(number)
        box = [(middle - tall * 0.16) * scale, (feet - tall) * scale, tall * 0.32 * scale, tall * scale]
        rows.append(f"{number + 1},walker,{','.join(f'{value:.2f}' for value in box)},1,person")
        if ghost:
            rows.append(f"{number + 1},ghost,{','.join(map(str, GHOST))},1,person")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("video") / "street.mp4")


def has_red(sheet: Path) -> bool:
    return bool((cv2.imread(str(sheet)) == np.array(RED)).all(axis=2).any())


def test_a_labelled_video_is_scored(video: Path, tmp_path: Path) -> None:
    labels, out = label(tmp_path / "l.csv", ghost=True), tmp_path / "out"
    done = evaluate("--video", video, "--labels", labels, "--out", out)
    assert done.returncode == 0, done.stderr
    assert any(f"Labelled video ({stack.name}, " in done.stdout for stack in STACKS)
    assert "id ghost" in done.stdout
    assert "MISSED" in done.stdout
    assert "48 to 64 px" in done.stdout
    case = json.loads((out / "evaluate.json").read_text())["cases"][0]
    counted = score(out / "video-masks.mkv", labels)
    assert case["figures"] == counted.figures()
    assert case["figures"]["frames"] == FRAMES
    assert set(case["bare"]) == set(counted.bare) == {"ghost"}
    assert case["fps"] == FPS
    assert case["bounds"]["leaking_tracks"] == {"here": 1, "must": 0, "aim": 0, "must_met": False, "aim_met": False}
    assert has_red(out / "sheet-video.png")


def test_a_profile_that_masks_everything_leaves_nobody_bare(video: Path, tmp_path: Path) -> None:
    labels, out = label(tmp_path / "l.csv", ghost=False), tmp_path / "out"
    done = evaluate(
        "--video", video, "--labels", labels, "--profile", "full", "--frames", "12", "--fps", "7", "--json", "--out", out
    )
    assert done.returncode == 0, done.stderr
    case = json.loads(done.stdout)["cases"][0]
    assert case["full_by_cause"] == {"profile": 12}
    assert (case["fps"], case["bounds"], case["bare"]) == (7, {}, {})
    figures = case["figures"]
    assert (figures["frames"], figures["boxes"], figures["person_recall"], figures["head_recall"]) == (12, 12, 1.0, 1.0)
    box = (220 * 0.32 * WIDTH / 960) * (220 * WIDTH / 960) * 1.5**2
    assert figures["over_masking"] == pytest.approx(1 - box / (WIDTH * HEIGHT), abs=0.005)
    assert not has_red(out / "sheet-full-video.png")


def test_only_masked_video_is_drawn_on(video: Path, tmp_path: Path) -> None:
    """Fully masked stills are of one tone; lines and numbers are all there is besides."""
    out = tmp_path / "out"
    done = evaluate("--video", video, "--labels", label(tmp_path / "l.csv", ghost=False), "--profile", "full", "--out", out)
    assert done.returncode == 0, done.stderr
    sheet = cv2.imread(str(out / "sheet-full-video.png"))
    tone = np.median(sheet.reshape(-1, 3), axis=0)
    assert (np.abs(sheet - tone).max(axis=2) < 12).mean() > 0.95
    with av.open(str(out / "full-video.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES


BAD: dict[str, tuple[list[str], int, str]] = {
    "labels are not there": (["--video", "VIDEO", "--labels", "nowhere.csv"], 2, "cannot be read as labels"),
    "no labels given": (["--video", "VIDEO"], 2, "needs labels"),
    "no video given": (["--labels", "LABELS"], 2, "need a video"),
    "video is not there": (["--video", "nowhere.mp4", "--labels", "LABELS"], 1, "cannot be read"),
    "labels are no labels": (["--video", "VIDEO", "--labels", "VIDEO"], 2, "cannot be read as labels"),
    "labels of a longer video": (["--video", "VIDEO", "--labels", "LABELS", "--profile", "full"], 2, "reach frame 99"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_error_and_a_hint(video: Path, tmp_path: Path, case: str) -> None:
    words, code, text = BAD[case]
    labels = label(tmp_path / "l.csv", ghost=False)
    with labels.open("a") as file:
        file.write("99,late,0,0,20,40,1,person\n")
    names = {"VIDEO": str(video), "LABELS": str(labels)}
    done = evaluate(*(names.get(word, word) for word in words), "--out", tmp_path / "out")
    assert done.returncode == code
    assert done.stderr.count("error: ") == 1
    assert done.stderr.count("\nhint: ") == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("leaky", "shown"), [(range(41, 61), 6), (range(41, 44), 3), ((), 0)])
def test_half_of_a_sheet_is_for_bare_heads(leaky: Iterable[int], shown: int) -> None:
    masks = np.ones((60, 80, 100), bool)
    masks[[number - 1 for number in leaky]] = False
    person = FrameLabels(("a",), np.array([[40.0, 20.0, 20.0, 50.0]]), np.empty((0, 4)))
    chosen = choose(score_frames(masks, dict.fromkeys(range(1, 61), person)))
    assert len(set(chosen)) == 12
    assert len(set(chosen) & set(leaky)) >= shown
    assert min(chosen) <= 8
    assert max(chosen) >= 53


def test_the_tables_have_a_night_of_their_own(tmp_path: Path) -> None:
    """A few frames of every column; the figures are for people to read, not for this test."""
    if not (SHARED / "tools/degrade.py").exists():
        pytest.skip("needs the labels and the night in ../shared")
    done = evaluate("--frames", "12", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    day, rest = done.stdout.split("Night, simulated")
    night, outside = rest.split("Outside of the condition")
    for name in ("standard day", "standard shake", "strict day", "second gate alone"):
        assert f"\n  {name} " in day
        assert name not in night
    assert "standard night" in night
    assert "standard night" not in day
    assert all(f"standard {name} " in outside for name in OUTSIDE)
    cases = json.loads((tmp_path / "evaluate.json").read_text())["cases"]
    assert {case["name"]: case["stack"] for case in cases}["second gate alone"] == "nobody"
    assert {case["fps"] for case in cases} == {7, 25, 50}
    assert all(case["figures"]["frames"] == 12 for case in cases if case["name"] != "standard brief")
    assert len(list(tmp_path.glob("sheet-*.png"))) == len(cases) == 5 + len(OUTSIDE)
