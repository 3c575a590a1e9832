"""The scorer behind `make evaluate`: masks drawn by hand, properties, and the shared scorer beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.media.encoder import MaskWriter
from privacy.errors import ConfigError, LyktaError, MediaError, UsageError
from tests.bench.score import FrameLabels, Labels, Score, clopper_pearson, longest_run, read_labels, score, score_frames, wilson
from tests.support.nodes import BIN, MODELS, PROJECT, VIDEO

SHARED = PROJECT.parent / "shared"
WIDTH, HEIGHT = 100, 80
Box = tuple[float, float, float, float]
PERSON: Box = (40, 20, 20, 50)
"""Head region: x 45 to 55, y 20 to 28."""


def mask(*rectangles: tuple[int, int, int, int]) -> np.ndarray:
    """A mask in which some rectangles (left, top, right, bottom) are masked."""
    plane = np.zeros((HEIGHT, WIDTH), bool)
    for left, top, right, bottom in rectangles:
        plane[top:bottom, left:right] = True
    return plane


def labels_of(*frames: list[tuple[str, Box]], ignored: Box | None = None) -> Labels:
    extra = np.array([ignored] if ignored else [], float).reshape(-1, 4)
    return {
        number: FrameLabels(tuple(name for name, _ in people), np.array([box for _, box in people], float).reshape(-1, 4), extra)
        for number, people in enumerate(frames, start=1)
    }


def one(box: Box, *rectangles: tuple[int, int, int, int]) -> Score:
    return score_frames([mask(*rectangles)], labels_of([("a", box)]))


def write_labels(path: Path, rows: list[tuple[object, ...]]) -> Path:
    lines = ["frame,id,x,y,w,h,conf,class", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_masks(path: Path, masks: list[np.ndarray]) -> Path:
    height, width = masks[0].shape
    writer = MaskWriter(path, width, height, 7.0)
    for plane in masks:
        writer.write(np.where(plane, np.uint8(255), np.uint8(0)))
    writer.close()
    return path


@pytest.mark.parametrize(
    ("painted", "person", "head", "bare"),
    [
        ((40, 20, 60, 70), 1, 1, 0),  # all of it
        ((40, 20, 60, 60), 1, 1, 0),  # all but the feet: exactly 80 %
        ((40, 20, 60, 59), 0, 1, 0),  # a row less
        ((40, 30, 60, 70), 1, 0, 1),  # all but the head: exactly 80 %
        ((40, 24, 60, 70), 1, 0, 0),  # half of the head: not bare, not covered
        ((40, 25, 60, 70), 1, 0, 1),  # a row less: bare
        ((46, 20, 60, 70), 0, 1, 0),  # exactly 90 % of the head
        ((47, 20, 60, 70), 0, 0, 0),
        ((0, 0, 0, 0), 0, 0, 1),
    ],
)
def test_what_covered_and_bare_mean(painted: tuple[int, int, int, int], person: int, head: int, bare: int) -> None:
    counted = one(PERSON, painted)
    assert (counted.person.hits, counted.person.of) == (person, 1)
    assert (counted.head.hits, counted.head.of) == (head, 1)
    assert counted.bare_heads == bare
    assert counted.bare == ({"a": (1,)} if bare else {})


@pytest.mark.parametrize(
    ("box", "people", "heads"),
    [
        ((-14, 20, 20, 50), 1, 0),  # exactly 30 % inside, the head region outside
        ((-15, 20, 20, 50), 0, 0),  # 25 % inside
        ((92, 20, 20, 50), 1, 1),  # 40 % inside, three columns of the head
        ((200, 20, 20, 50), 0, 0),  # beside the picture
        ((40, 20, 8, 25), 1, 1),  # a head of 4x4 = 16 pixels
        ((40, 20, 6, 25), 1, 0),  # of fewer
    ],
)
def test_people_hardly_in_the_picture_are_left_out(box: Box, people: int, heads: int) -> None:
    counted = one(box)
    assert (counted.person.of, counted.head.of, counted.tracks) == (people, heads, heads)


def test_over_masking_is_what_lies_outside_of_grown_boxes() -> None:
    # PERSON grown by a quarter a side: x 35 to 65, y 7.5 to 82.5, halves to even, clipped: 8 to 80.
    picture = WIDTH * HEIGHT
    assert one(PERSON, (35, 8, 65, 80)).over_masking == 0
    assert one(PERSON, (34, 8, 65, 80)).over_masking == pytest.approx(72 / picture)
    assert one(PERSON, (0, 0, WIDTH, HEIGHT)).over_masking == pytest.approx(1 - 30 * 72 / picture)


def test_ignored_boxes_need_no_mask_and_are_not_over_masked() -> None:
    labels = labels_of([("a", PERSON)], ignored=(0, 0, 20, 20))
    counted = score_frames([mask((40, 20, 60, 70), (0, 0, 25, 25))], labels)
    assert (counted.person.of, counted.over_masking) == (1, 0)


def test_frames_of_the_warm_up_do_not_count_as_over_masked() -> None:
    whole, none = mask((0, 0, WIDTH, HEIGHT)), mask()
    assert score_frames([whole, none], {}).over_masking == pytest.approx(0.5)
    assert score_frames([whole, none], {}, warmup=1).over_masking == 0


def test_tracks_are_told_apart_with_their_bare_frames() -> None:
    far: Box = (0, 0, 20, 50)
    labels = labels_of(*([[("a", PERSON), ("b", far)]] * 6))
    bare, covered = mask((0, 0, 20, 50)), mask((0, 0, 20, 50), (40, 20, 60, 70))
    counted = score_frames([bare, covered, bare, bare, bare, covered], labels)
    assert counted.bare == {"a": (1, 3, 4, 5)}
    assert (counted.tracks, counted.bare_heads, counted.longest_bare) == (2, 4, 3)
    assert counted.figures()["leak_rate_upper_95"] == pytest.approx(0.9747)  # 1 - (1 - 0.95 ** 0.5): one of two


def test_recall_is_split_by_height() -> None:
    small: Box = (0, 0, 10, 30)
    counted = score_frames([mask((40, 20, 60, 70))], labels_of([("a", PERSON), ("b", small)]))
    assert [(row.least, row.below, row.person.hits, row.person.of, row.head.hits) for row in counted.heights] == [
        (24, 32, 0, 1, 0),
        (48, 64, 1, 1, 1),
    ]


def test_labels_that_go_on_after_the_masks_are_refused() -> None:
    with pytest.raises(UsageError, match="masks of 1 frames, but the labels reach frame 2"):
        score_frames([mask()], labels_of([("a", PERSON)], [("a", PERSON)]))


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        ("frame,id,x,y,w,conf,class\n", ConfigError, "column h is missing"),
        ("", ConfigError, "column frame is missing"),
        ("frame,id,x,y,w,h,conf,class\n1,a,0,0,ten,9,1,person\n", ConfigError, "line 2: frame, x, y, w, h must be numbers"),
        ("frame,id,x,y,w,h,conf,class\n1,a,0,0\n", ConfigError, "line 2"),
        ("frame,id,x,y,w,h,conf,class\n0,a,0,0,9,9,1,person\n", ConfigError, "frame must be at least 1 .got 0"),
        ("frame,id,x,y,w,h,conf,class\n1,a,0,nan,9,9,1,person\n", ConfigError, "nan"),
        ("frame,id,x,y,w,h,conf,class\n1,a,0,0,9,0,1,person\n", ConfigError, "greater than 0"),
        ("\xff\xfe", UsageError, "not text"),
    ],
)
def test_labels_that_make_no_sense_are_refused(tmp_path: Path, text: str, kind: type[LyktaError], word: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(kind, match=word) as caught:
        read_labels(path)
    assert caught.value.hint


def test_masks_that_are_no_video_are_refused(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "l.csv", [(1, "a", *PERSON, 1, "person")])
    with pytest.raises(MediaError, match="cannot be read as masks"):
        score(labels, labels)


boxes = st.tuples(st.floats(-40, 120, allow_nan=False), st.floats(-40, 120), st.floats(0.5, 90), st.floats(0.5, 90))
people = st.lists(st.tuples(st.sampled_from("abc"), boxes), max_size=4)
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int) -> np.ndarray:
    """Blocks of 10x10 pixels, masked at random."""
    blocks = np.random.default_rng(seed).random((HEIGHT // 10, WIDTH // 10)) < 0.5
    return np.kron(blocks, np.ones((10, 10))).astype(bool)


@given(people, seeds, seeds)
def test_more_mask_never_means_less_recall(who: list[tuple[str, Box]], seed: int, other: int) -> None:
    labels, less, extra = labels_of(who), noise(seed), noise(other)
    before, after = score_frames([less], labels), score_frames([less | extra], labels)
    assert after.person.hits >= before.person.hits
    assert after.head.hits >= before.head.hits
    assert after.bare_heads <= before.bare_heads
    assert after.over_masking >= before.over_masking
    assert (after.person.of, after.head.of, after.tracks) == (before.person.of, before.head.of, before.tracks)


@given(people, seeds)
def test_everything_and_nothing_masked(who: list[tuple[str, Box]], seed: int) -> None:
    labels = labels_of(who)
    whole, none = score_frames([np.ones((HEIGHT, WIDTH), bool)], labels), score_frames([mask()], labels)
    assert (whole.person.value, whole.head.value, whole.bare_heads) == (1.0, 1.0, 0)
    assert none.bare_heads == none.head.of
    assert none.over_masking == 0
    assert sum(row.person.of for row in none.heights) == none.person.of
    assert sum(row.head.of for row in none.heights) == none.head.of


@given(st.sets(st.integers(1, 60)))
def test_the_longest_run_is_the_longest(numbers: set[int]) -> None:
    text = "".join("x" if number in numbers else " " for number in range(1, 61))
    assert longest_run(np.array(sorted(numbers), np.int64)) == max(map(len, text.split()), default=0)


@given(st.integers(1, 60).flatmap(lambda of: st.tuples(st.integers(0, of - 1), st.just(of))))
def test_the_upper_bound_is_where_so_few_happen_once_in_twenty_times(pair: tuple[int, int]) -> None:
    hits, of = pair
    rate = Fraction(clopper_pearson(hits, of))
    few = sum(comb(of, k) * rate**k * (1 - rate) ** (of - k) for k in range(hits + 1))
    assert float(few) == pytest.approx(0.05, rel=1e-9)


@given(st.integers(1, 5000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_interval_holds_the_share_and_mirrors(pair: tuple[int, int]) -> None:
    hits, of = pair
    low, high = wilson(hits, of)
    assert 0 <= low <= hits / of <= high <= 1
    assert wilson(of - hits, of) == pytest.approx((1 - high, 1 - low))


def test_bounds_from_tables() -> None:
    assert clopper_pearson(0, 19) == pytest.approx(0.14587, abs=5e-6)  # 1 - 0.05 ** (1 / 19)
    assert clopper_pearson(2, 20) == pytest.approx(0.28262, abs=5e-6)
    assert clopper_pearson(0, 0) == clopper_pearson(7, 7) == 1
    assert wilson(0, 10) == pytest.approx((0, 0.27753), abs=5e-6)
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94332), abs=5e-6)
    assert wilson(0, 0) == (0, 1)


def shared_figures(masks: Path, labels: Path, warmup: int) -> dict[str, float]:
    scorer = SHARED / "tools/score_masks.py"
    if not scorer.exists():
        pytest.skip("needs the scorer in ../shared")
    words = [sys.executable, scorer, masks, labels, "--json", "--warmup", str(warmup)]
    return dict(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))


@pytest.mark.parametrize("warmup", [0, 10])
def test_the_shared_scorer_agrees_on_odd_boxes(tmp_path: Path, warmup: int) -> None:
    """Boxes at halves of pixels, across every edge, tiny, ignored, over masks of random blocks."""
    rng = np.random.default_rng(3)
    rows: list[tuple[object, ...]] = []
    for number in range(1, 41):
        for name in range(8):
            x, y, w, h = np.round(rng.uniform((-40, -40, 1, 1), (110, 90, 60, 90)) * 2) / 2
            rows.append((number, name, x, y, w, h, 1, "ignore" if name == 7 else "person"))
    labels = write_labels(tmp_path / "l.csv", rows)
    masks = write_masks(tmp_path / "m.mkv", [noise(number) for number in range(40)])
    counted = score(masks, labels, warmup)
    assert counted.figures() == shared_figures(masks, labels, warmup)
    assert 0 < counted.bare_heads < counted.head.of


def test_the_shared_scorer_agrees_on_real_masks(tmp_path: Path) -> None:
    source = SHARED / "data/pets09-s2l1.csv"
    if not source.exists():
        pytest.skip("needs the labels in ../shared")
    video, masks = tmp_path / "in.mkv", tmp_path / "m.mkv"
    lines = source.read_text().splitlines()
    labels = tmp_path / "l.csv"
    labels.write_text("\n".join([lines[0], *(line for line in lines[1:] if int(line.split(",")[0]) <= 60)]) + "\n")
    words = ["ffmpeg", "-v", "error", "-i", VIDEO, "-frames:v", "60", "-c:v", "ffv1", video]
    subprocess.run(words, check=True)
    words = [BIN / "lykta", "mask", video, tmp_path / "out.mp4", "--masks", masks, "--models", MODELS, "--fps", "7"]
    subprocess.run(words, capture_output=True, check=True)
    counted = score(masks, labels)
    assert counted.figures() == shared_figures(masks, labels, 0)
    assert counted.person.of > 200
