"""How well a mask video covers labelled people.

Masks: one gray picture a frame, 255 = masked (`lykta mask --masks`). Labels: CSV with frame (from 1), id, x, y, w, h (pixels),
conf, class; boxes of class "ignore" need no mask and are not over-masked. The definitions are those of the project's shared
scorer, against which `test_score.py` holds the figures. Beside them: which frames each track was bare in, and recall by the
height of the person, because an average over frames hides both.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError

from privacy.errors import ConfigError, MediaError, UsageError

Plane = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.bool_]
Reals = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

COVERED, HEAD_COVERED, HEAD_BARE = 0.8, 0.9, 0.5
# A person of whom less is in the picture is left out; so is a head of fewer pixels.
VISIBLE, HEAD_PIXELS = 0.3, 16
# A box with this much of its size added on each side is no over-masking.
GROWN = 0.25
# Lower edges of the classes of height, in pixels of the labelled video.
HEIGHTS = (0, 24, 32, 48, 64, 80, 96, 128, 192)
COLUMNS = ("frame", "id", "x", "y", "w", "h", "class")
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class FrameLabels:
    """Boxes of one frame as rows of x, y, w, h. names: the ids of `people`, row by row."""

    names: tuple[str, ...]
    people: Reals
    ignored: Reals


Labels = dict[int, FrameLabels]
NOBODY = FrameLabels((), np.empty((0, 4)), np.empty((0, 4)))


def read_labels(path: Path) -> Labels:
    """Labels by frame. `UsageError` if the file cannot be read, `ConfigError` for a line that makes no sense."""
    names: dict[int, list[str]] = defaultdict(list)
    people: dict[int, list[Reals]] = defaultdict(list)
    ignored: dict[int, list[Reals]] = defaultdict(list)
    for number, name, box, kind in _rows(path):
        if kind == "ignore":
            ignored[number].append(box)
        else:
            names[number].append(name)
            people[number].append(box)
    return {
        number: FrameLabels(tuple(names[number]), _stack(people[number]), _stack(ignored[number]))
        for number in sorted({*people, *ignored})
    }


def _stack(boxes: list[Reals]) -> Reals:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _rows(path: Path) -> Iterator[tuple[int, str, Reals, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            absent = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
            if absent:
                raise ConfigError(f"{path}: column {absent[0]} is missing", f"a header with {','.join(COLUMNS)} is needed")
            for line in lines:
                yield _row(line, f"{path}: line {lines.line_num}")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not text"
        raise UsageError(f"{path}: cannot be read as labels: {reason}", "name a CSV file with LABELS=…") from problem


def _row(line: dict[str, str], place: str) -> tuple[int, str, Reals, str]:
    try:
        number, box = int(line["frame"]), np.array([float(line[key]) for key in "xywh"])
    except (TypeError, ValueError) as problem:
        raise ConfigError(
            f"{place}: frame, x, y, w, h must be numbers: {problem}", "frame is whole, the others are pixels"
        ) from problem
    if number < 1:
        raise ConfigError(f"{place}: frame must be at least 1 (got {number})", "the first frame of a video is 1")
    if not np.isfinite(box).all() or min(box[2:]) <= 0:
        raise ConfigError(f"{place}: w and h must be greater than 0, all finite (got {box.tolist()})", "a box is x, y, w, h")
    return number, line["id"], box, line["class"]


def read_masks(path: Path) -> Iterator[Bits]:
    """Masks of a video, frame by frame: (height, width), True = masked."""
    try:
        with av.open(str(path)) as container:
            for picture in container.decode(video=0):
                yield picture.to_ndarray(format="gray") > 127
    except (FFmpegError, OSError, IndexError) as problem:
        raise MediaError(f"{path}: cannot be read as masks: {problem}", "write it with lykta mask --masks") from problem


@dataclass(frozen=True)
class Share:
    """Hits of all. A share of nothing is 1: nobody was missed."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.of)


@dataclass(frozen=True)
class HeightClass:
    """Recall of people whose box is at least `least` and less than `below` pixels high."""

    least: int
    below: float
    person: Share
    head: Share


@dataclass(frozen=True)
class Score:
    """What was counted. bare: frames (from 1) in which the head of a track was bare; only tracks with such frames."""

    frames: int
    tracks: int
    person: Share
    head: Share
    bare: dict[str, tuple[int, ...]]
    bare_heads: int
    longest_bare: int
    over_masking: float
    heights: tuple[HeightClass, ...]

    @property
    def leak_bound(self) -> float:
        """95 % upper bound of the true share of tracks that are bare at least once, if tracks are independent."""
        return clopper_pearson(len(self.bare), self.tracks)

    def figures(self) -> dict[str, float]:
        """The figures under the names, and with the rounding, of the shared scorer."""
        return {
            "frames": self.frames,
            "boxes": self.person.of,
            "tracks": self.tracks,
            "person_recall": round(self.person.value, 5),
            "head_recall": round(self.head.value, 5),
            "bare_heads": self.bare_heads,
            "leaking_tracks": len(self.bare),
            "leak_rate_upper_95": round(self.leak_bound, 4),
            "longest_bare": self.longest_bare,
            "over_masking": round(self.over_masking, 4),
        }


@dataclass(frozen=True)
class Judged:
    """People of one or more frames, a row each. head: masked share of the head region, NaN where it is too small to count."""

    frame: Whole
    name: npt.NDArray[np.str_]
    height: Reals
    person: Reals
    head: Reals


def score(masks: Path, labels: Path, warmup: int = 0) -> Score:
    """Score a mask video. warmup: frames at the start that do not count for over-masking."""
    return score_frames(read_masks(masks), read_labels(labels), warmup)


def score_frames(masks: Iterable[Bits], labels: Labels, warmup: int = 0) -> Score:
    """Score masks, one a frame. `UsageError` if the labels go on after the last mask."""
    judged, over, number = [judge(0, np.zeros((1, 1), bool), NOBODY)], [], 0
    for number, mask in enumerate(masks, start=1):
        known = labels.get(number, NOBODY)
        judged.append(judge(number, mask, known))
        if number > warmup:
            over.append(over_masked(mask, known))
    last = max((frame for frame, known in labels.items() if known.names), default=0)
    if number < last:
        raise UsageError(f"masks of {number} frames, but the labels reach frame {last}", "name the labels of this video")
    return _count(number, _join(judged), over)


def judge(number: int, mask: Bits, known: FrameLabels) -> Judged:
    """The people of one frame who are in the picture with enough of themselves."""
    x, y, w, h = known.people.T
    whole, head = corners(known.people, mask), corners(np.stack((x + 0.25 * w, y, 0.5 * w, 0.16 * h), axis=1), mask)
    sums = np.asarray(cv2.integral(mask.view(np.uint8)), np.int64)
    counts = area(whole) >= VISIBLE * w * h
    head_share = np.where(area(head) < HEAD_PIXELS, np.nan, covered(sums, head))
    names = np.array(known.names, np.str_)
    return Judged(np.full(counts.sum(), number), names[counts], h[counts], covered(sums, whole)[counts], head_share[counts])


def _join(parts: list[Judged]) -> Judged:
    return Judged(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Judged)))


def corners(boxes: Reals, mask: Bits) -> Whole:
    """Rows of left, top, right, bottom: whole pixels (halves to even), inside the picture, never inside out."""
    height, width = mask.shape
    low = np.clip(np.rint(boxes[:, :2]), 0, (width, height))
    high = np.clip(np.rint(boxes[:, :2] + boxes[:, 2:]), low, (width, height))
    return np.hstack((low, high)).astype(np.int64)


def area(boxes: Whole) -> Whole:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def covered(sums: Whole, boxes: Whole) -> Reals:
    """Masked share of each box, from the mask's summed-area table: one look-up a corner, however large the box."""
    left, top, right, bottom = boxes.T
    masked = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    size = area(boxes)
    return np.where(size > 0, masked / np.maximum(size, 1), 1.0)


def over_masked(mask: Bits, known: FrameLabels) -> float:
    """Share of the picture that is masked although it is in no grown box."""
    boxes = np.vstack((known.people, known.ignored))
    grown = np.hstack((boxes[:, :2] - GROWN * boxes[:, 2:], (1 + 2 * GROWN) * boxes[:, 2:]))
    astray = mask.copy()
    for left, top, right, bottom in corners(grown, mask):
        astray[top:bottom, left:right] = False
    return float(astray.mean())


def _count(frames: int, judged: Judged, over: list[float]) -> Score:
    has_head, bare = ~np.isnan(judged.head), judged.head < HEAD_BARE
    by_name = {str(name): judged.frame[bare & (judged.name == name)] for name in np.unique(judged.name[bare])}
    return Score(
        frames=frames,
        tracks=len(np.unique(judged.name[has_head])),
        person=_share(judged.person, COVERED),
        head=_share(judged.head[has_head], HEAD_COVERED),
        bare={name: tuple(np.unique(numbers).tolist()) for name, numbers in by_name.items()},
        bare_heads=int(bare.sum()),
        longest_bare=max((longest_run(numbers) for numbers in by_name.values()), default=0),
        over_masking=float(np.mean(over)) if over else 0.0,
        heights=tuple(_by_height(judged)),
    )


def _share(shares: Reals, least: float) -> Share:
    return Share(int((shares >= least).sum()), len(shares))


def _by_height(judged: Judged) -> Iterator[HeightClass]:
    for least, below in zip(HEIGHTS, (*HEIGHTS[1:], math.inf), strict=True):
        rows = (judged.height >= least) & (judged.height < below)
        heads = judged.head[rows]
        if rows.any():
            person, head = _share(judged.person[rows], COVERED), _share(heads[~np.isnan(heads)], HEAD_COVERED)
            yield HeightClass(least, below, person, head)


def longest_run(numbers: Whole) -> int:
    """Length of the longest run of consecutive numbers."""
    ordered = np.unique(numbers)
    ends = np.flatnonzero(np.diff(ordered) != 1)
    return int(np.diff(np.concatenate(([-1], ends, [len(ordered) - 1]))).max()) if len(ordered) else 0


def wilson(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, JASA 22, 1927). Boxes of one track are alike, so the truth is wider than this."""
    if not of:
        return 0.0, 1.0
    spread = _Z95**2 / of
    middle = (hits / of + spread / 2) / (1 + spread)
    half = math.sqrt(hits / of * (1 - hits / of) * spread + spread**2 / 4) / (1 + spread)
    return (0.0 if not hits else middle - half), (1.0 if hits == of else middle + half)


def clopper_pearson(hits: int, of: int) -> float:
    """One-sided 95 % upper bound of a share (Clopper and Pearson, Biometrika 26, 1934).

    It is the rate at which so few hits, or fewer, still turn up once in twenty times.
    """
    if hits >= of:
        return 1.0
    ways = [math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) for k in range(hits + 1)]
    low, high = 0.0, 1.0
    # Halving reaches the last bit of a double in 60 steps.
    for _ in range(60):
        rate = (low + high) / 2
        few = math.fsum(math.exp(way + k * math.log(rate) + (of - k) * math.log1p(-rate)) for k, way in enumerate(ways))
        low, high = (rate, high) if few > 0.05 else (low, rate)
    return high
