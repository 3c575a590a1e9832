"""Harder variants of the labelled clip: what it shows is turned, fogged, played fast, seen for a moment, or cut away from.

Each is made of the clip's own pictures, without loss, and has labels of its own; nothing of them is tuned on. The same seed makes
the same pictures.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.bench.score import FrameLabels, Plane, Reals, read_labels

FPS = 25
FOG = 0.08
"""What fog leaves of the contrast."""
TRIES, BRIEFLY = 100, (1, 20)
"""So often, at most once a picture of the clip, somebody is there for a moment: 1 to 20 pictures, 0.04 to 0.8 s."""
_APART = 25
_TALL = 80
_LOSSLESS = {"qp": "0", "preset": "ultrafast"}
_SEED = 20_261_129

Row = tuple[int, str, Reals]
"""Frame (from 1), name, box (x, y, w, h) in pixels."""


@dataclass(frozen=True)
class Shot:
    """One picture, BGR, and who is in it."""

    picture: Plane
    people: tuple[tuple[str, Reals], ...]


Variant = Callable[[Path, Path], Iterator[Shot]]


def make(variant: Variant, video: Path, labels: Path, target: Path, target_labels: Path) -> None:
    """Write a variant of a labelled video: lossless H.264 at `FPS` pictures a second, and its labels."""
    with target_labels.open("w", newline="") as file, av.open(str(target), "w") as container:
        rows = csv.writer(file)
        rows.writerow(("frame", "id", "x", "y", "w", "h", "conf", "class"))
        stream = None
        for number, shot in enumerate(variant(video, labels), start=1):
            if stream is None:
                height, width = shot.picture.shape[:2]
                stream = container.add_stream("libx264", FPS, width=width, height=height, pix_fmt="yuv420p", options=_LOSSLESS)
                stream.time_base = Fraction(1, FPS)
            frame = av.VideoFrame.from_ndarray(shot.picture, "bgr24")
            frame.pts, frame.time_base = number - 1, Fraction(1, FPS)
            container.mux(stream.encode(frame))
            rows.writerows((number, name, *(round(float(side), 1) for side in box), 1, "person") for name, box in shot.people)
        if stream is not None:
            container.mux(stream.encode())


def fog(video: Path, labels: Path) -> Iterator[Shot]:
    """Contrast as of a picture through fog: a constant light, and `FOG` of what was there."""
    for shot in _shots(video, labels):
        yield Shot(np.asarray(150 + FOG * (shot.picture.astype(np.float32) - 128), np.uint8), shot.people)


def brief(video: Path, labels: Path) -> Iterator[Shot]:
    """Somebody stands for a moment in the empty place: cut from the clip, tall enough to be found, put where nobody is."""
    random = np.random.default_rng(_SEED)
    empty, cuts = _empty(video), list(_cuts(video, labels))
    for number in range(min(TRIES, len(list(_pictures(video))))):
        figure = cuts[int(random.integers(len(cuts)))]
        high, wide = figure.shape[:2]
        left, top = (int(random.integers(0, room)) for room in (empty.shape[1] - wide, empty.shape[0] - high))
        picture = empty.copy()
        picture[top : top + high, left : left + wide] = figure
        box = np.array((left, top, wide, high), np.float64)
        lasts = int(random.integers(BRIEFLY[0], BRIEFLY[1] + 1))
        yield from (Shot(empty, ()) for _ in range(_APART + int(random.integers(0, 10))))
        yield from (Shot(picture, ((f"try-{number}", box),)) for _ in range(lasts))
    yield from (Shot(empty, ()) for _ in range(_APART))


def away(video: Path, labels: Path) -> Iterator[Shot]:
    """The clip is cut away from and back, to itself in the mirror, each time for 2 to 15 pictures."""
    random, mirrored, left = np.random.default_rng(_SEED), False, 0
    for shot in _shots(video, labels):
        if not left:
            mirrored, left = not mirrored, int(random.integers(2, 16))
        left -= 1
        yield _mirror(shot) if mirrored else shot


def _mirror(shot: Shot) -> Shot:
    width = shot.picture.shape[1]
    people = tuple((name, np.array((width - x - w, y, w, h))) for name, (x, y, w, h) in shot.people)
    return Shot(np.ascontiguousarray(shot.picture[:, ::-1]), people)


def _shots(video: Path, labels: Path) -> Iterator[Shot]:
    known = read_labels(labels)
    for number, picture in enumerate(_pictures(video), start=1):
        yield Shot(picture, _people(known.get(number)))


def _people(known: FrameLabels | None) -> tuple[tuple[str, Reals], ...]:
    return tuple(zip(known.names, known.people, strict=True)) if known else ()


def _pictures(video: Path) -> Iterator[Plane]:
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def _empty(video: Path) -> Plane:
    """The place without anybody: the median of pictures spread over the clip."""
    some = [picture for number, picture in enumerate(_pictures(video)) if not number % 15]
    return np.asarray(np.median(np.stack(some), axis=0), np.uint8)


def _cuts(video: Path, labels: Path) -> Iterator[Plane]:
    """Upright people of the clip, at least `_TALL` pixels high and whole in the picture, of every fifth picture."""
    for number, shot in enumerate(_shots(video, labels)):
        high, wide = shot.picture.shape[:2]
        for _, (x, y, w, h) in shot.people if not number % 5 else ():
            if h >= _TALL and x >= 0 and y >= 0 and x + w <= wide and y + h <= high:
                yield shot.picture[int(y) : int(y + h), int(x) : int(x + w)].copy()
