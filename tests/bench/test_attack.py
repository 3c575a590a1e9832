"""The trained attacker is strong enough to judge masks by, and a solid fill leaves it nothing to train on (R22)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from privacy.masking.frames import Frame
from tests.bench.attack import LABELS
from tests.bench.attacker import LEARNERS, SPLITS, Learner, Rate, Split, attack, hits, interval, pick
from tests.bench.gallery import BLURRED, INSIDE, PAINTED, SIGHTS, UNMASKED, Gallery, Label, Scene, gather, read_labels, solid
from tests.support.nodes import PROJECT, VIDEO

NEEDED = (UNMASKED, BLURRED, PAINTED, INSIDE)
PEOPLE = 4


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    """Every second frame of the labelled clip, in four ways."""
    if not LABELS.exists():
        pytest.skip("needs the labels in ../shared")
    if not VIDEO.exists():
        pytest.skip("needs the video that `make setup` fetches")
    return gather(VIDEO, read_labels(LABELS), tuple(sight for sight in SIGHTS if sight.name in NEEDED), step=2)


def rates(gallery: Gallery, mask: str, split: Split, box: bool = False) -> dict[tuple[str, int], Rate]:
    return {(rate.learner, rate.pictures): rate for rate in attack(gallery, mask, split, box)}


def clouds(spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of four people around the corners of a square, the same number of each, in person order."""
    random = np.random.default_rng(seed)
    who = np.repeat(np.arange(PEOPLE), 60)
    corners = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)], float)
    return corners[who] + spread * random.standard_normal((len(who), 2)), who


@pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
def test_a_learner_solves_what_can_be_separated(make: type[Learner]) -> None:
    learner = make()
    learner.fit(*clouds(0.2, 1))
    asked, who = clouds(0.25, 2)
    answers = learner.ask(asked)
    assert (answers.argmax(axis=1) == who).mean() > 0.97
    assert np.exp(answers).sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
def test_more_pictures_name_more_and_none_name_nobody(make: type[Learner]) -> None:
    """The sum over pictures helps where one picture is doubtful, and gives nothing where all pictures are the same."""
    learner = make()
    learner.fit(*clouds(1.2, 1))
    asked, who = clouds(1.2, 2)
    one, ten = (hits(learner.ask(asked), PEOPLE, pictures).mean() for pictures in (1, 10))
    assert one < 0.75
    assert ten > one + 0.2
    learner.fit(np.zeros_like(asked), who)
    assert hits(learner.ask(np.zeros_like(asked)), PEOPLE, 10).mean() == pytest.approx(1 / PEOPLE)


def test_an_interval_is_about_people() -> None:
    assert interval(np.full(19, 0.25)) == pytest.approx((0.25, 0.25, 0.25))
    mean, low, high = interval(np.repeat([0.0, 1.0], 10))
    assert (mean, low, high) == pytest.approx((0.5, 0.3, 0.7), abs=0.06)


@pytest.mark.parametrize("split", SPLITS)
def test_no_frame_of_a_track_is_on_both_sides(split: Split, gallery: Gallery) -> None:
    train, test = pick(gallery, split)
    assert set(np.bincount(gallery.tracks[train])) == {len(train) // gallery.people}
    assert set(np.bincount(gallery.tracks[test])) == {len(test) // gallery.people}
    for person in range(gallery.people):
        first, second = (np.unique(gallery.frames[rows[gallery.tracks[rows] == person]]) for rows in (train, test))
        assert np.abs(first[:, None] - second[None, :]).min() > 4
        assert split == "alternating" or first.max() + 7 <= second.min()


@pytest.mark.parametrize("mask", [UNMASKED, BLURRED])
def test_the_attacker_names_people_whom_blur_should_hide(mask: str, gallery: Gallery) -> None:
    """Else what it says of the solid fill would mean nothing."""
    for split in SPLITS:
        for rate in rates(gallery, mask, split).values():
            assert rate.rate > 0.3
            assert rate.low > 2 / gallery.people


@pytest.mark.parametrize("split", SPLITS)
def test_the_painted_fill_names_nobody(split: Split, gallery: Gallery) -> None:
    for rate in rates(gallery, PAINTED, split).values():
        assert rate.rate <= 1 / gallery.people + 0.02


@pytest.mark.parametrize("split", SPLITS)
def test_inside_the_coded_fill_nobody_can_be_told_from_chance(split: Split, gallery: Gallery) -> None:
    for rate in rates(gallery, INSIDE, split).values():
        assert rate.low <= 1 / gallery.people


def test_place_size_and_time_name_people_whatever_the_fill(gallery: Gallery) -> None:
    """What docs/ATTACK.md warns of: no fill hides where and when somebody was."""
    assert rates(gallery, PAINTED, "alternating", box=True)["logistic", 10].low > 0.5


def test_what_the_encoder_gets_does_not_depend_on_the_person() -> None:
    """Two people in the same box leave the same masked frame, to the byte."""
    random = np.random.default_rng(3)
    place = random.integers(60, 200, (180 * 3 // 2, 320), np.uint8)
    label = Label(1, 1, 140.5, 60.2, 31.0, 75.2)
    frames = [Frame(place.copy(), 320, 180, 0, 0, 0) for _ in range(2)]
    scenes = [Scene(frame, [label], place) for frame in frames]
    for scene in scenes:
        for plane in scene.views(scene.frame.buffer, label.region(320, 180)):
            plane[:] = random.integers(0, 255, plane.shape, np.uint8)
    one, other = (solid(scene) for scene in scenes)
    assert (frames[0].buffer != frames[1].buffer).any()
    assert np.array_equal(one, other)


@pytest.mark.parametrize("option", ["--video", "--labels"])
def test_what_is_absent_is_named(option: str, tmp_path: Path) -> None:
    present = tmp_path / "labels.csv"
    present.write_text("frame,id,x,y,w,h,conf,class\n1,1,10,10,30,80,1,person\n")
    words = ["--labels", str(present), option, str(tmp_path / "absent")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.attack", *words], capture_output=True, text=True, check=False, cwd=PROJECT
    )
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("attack: ")]
    assert errors[0].startswith(f"error: {tmp_path / 'absent'}")
    assert errors[1].startswith("hint: ")
    assert len(errors) == 2
