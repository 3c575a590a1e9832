"""How small a person do the shipped networks still find? Recall by height in the networks' picture (R46).

    python -m tests.bench.far [--every N] [--json]

Labelled people (PETS09-S2L1, its labels in ../shared beside the project) in networks' pictures of several sizes, so that they are
8 to 96 net pixels high, by day and faint: grey, with a third of the contrast, as many cameras are at night or in haze. One look a
frame, no tracking: a person is found if what the engine would paint for that look covers 80 % of the box, a head if it covers 90 %
of it, as in `tests.bench.score`. They are adults who walk upright, and small because the picture was scaled down: the figures
flatter.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from drivers.media.video import VideoFile
from privacy.errors import LyktaError, UsageError
from privacy.masking.detection import Detection, Detector
from privacy.masking.frames import Frame
from privacy.masking.networks.detectors import open_stack
from privacy.masking.networks.models import installed, stack_of
from privacy.records.far_zone import LEAST
from tests.bench.evaluate import PEDESTRIAN_FPS, SHARED
from tests.bench.score import COVERED, HEAD_COVERED, Bits, Judged, Labels, Share, judge, read_labels
from tests.support.nodes import MODELS, VIDEO
from tests.support.scenes import painted

LONG_SIDES = (96, 128, 160, 192, 256, 320, 416, 544, 768)
"""Of the networks' picture, pixels; the people of this clip are 52 to 153 pixels high in 768."""
HEIGHTS = (8, 12, 16, 20, 24, 32, 48, 64, 96)
"""Edges of the classes, net pixels."""
CONTRAST = 0.3
LABELS = SHARED / "data/pets09-s2l1.csv"
Seen = list[tuple[float, Judged]]
"""Scale from video pixels to net pixels, and the people of one look."""


@dataclass(frozen=True)
class Row:
    """People of at least `least` and less than `below` net pixels; tracks: how many different people."""

    least: int
    below: int
    tracks: int
    person: Share
    head: Share


def faint(frame: Frame) -> Frame:
    """The frame in grey and with little contrast around its mean."""
    buffer = np.full_like(frame.buffer, 128)
    mean = float(frame.planes[0].mean())
    buffer[: frame.height] = np.rint(mean + (frame.buffer[: frame.height] - mean) * CONTRAST)
    return Frame(buffer, frame.width, frame.height, frame.index, frame.mono_ns, frame.wall_ns)


def measure(detector: Detector, long_side: int, frames: list[Frame], labels: Labels) -> Seen:
    """One look at each frame. long_side: of the detector's picture."""
    scale = long_side / max(frames[0].width, frames[0].height)
    return [(scale, judge(frame.index + 1, _mask(detector.detect(frame), frame), labels[frame.index + 1])) for frame in frames]


def _mask(found: tuple[Detection, ...], frame: Frame) -> Bits:
    """What the engine paints for this look, (height, width)."""
    mask = np.zeros((frame.height, frame.width), bool)
    for region in painted(found, frame.width, frame.height):
        mask[region.top : region.bottom, region.left : region.right] = True
    return mask


def rows(seen: Seen) -> Iterator[Row]:
    """The table, small people first; classes without anybody are left out."""
    height = np.concatenate([scale * one.height for scale, one in seen])
    name, person, head = (np.concatenate([getattr(one, field) for _, one in seen]) for field in ("name", "person", "head"))
    for least, below in pairwise(HEIGHTS):
        here = (height >= least) & (height < below)
        if here.any():
            heads = head[here & ~np.isnan(head)]
            people = Share(int((person[here] >= COVERED).sum()), int(here.sum()))
            yield Row(least, below, len(np.unique(name[here])), people, Share(int((heads >= HEAD_COVERED).sum()), len(heads)))


def frames_of(every: int) -> list[Frame]:
    """One in so many frames of the demo video; `UsageError` where it or its labels are not there."""
    for path, hint in ((VIDEO, "make setup fetches it"), (LABELS, "place ../shared beside the project")):
        if not path.exists():
            raise UsageError(f"far: no such file: {path}", hint)
    video, kept = VideoFile(VIDEO, fps=PEDESTRIAN_FPS), []
    video.open()
    while frame := video.capture():
        if frame.index % every == 0:
            kept.append(frame)
    video.close()
    return kept


def table(stack: str, day: list[Row], dim: list[Row]) -> str:
    """As Markdown."""
    scale = 1280 / stack_of(stack).long_side
    lines = [f"{stack}: one look; 95 % intervals (Wilson); boxes of one track are alike, so the truth is wider", ""]
    lines += ["| net px | px of 1280x720 | people | boxes | heads, day | persons, day | heads, faint | persons, faint |"]
    lines += ["|" + "---|" * 8]
    for one, other in zip(day, dim, strict=True):
        sizes = f"{one.least} to {one.below} | {one.least * scale:.0f} to {one.below * scale:.0f} | {one.tracks} | {one.person.of}"
        lines.append(
            f"| {sizes} | " + " | ".join(_interval(share) for row in (one, other) for share in (row.head, row.person)) + " |"
        )
    return "\n".join([*lines, "", f"the product's least height: {LEAST} net px"]) + "\n"


def _interval(share: Share) -> str:
    low, high = (f"{end * 100:.1f}" for end in share.interval)
    return f"{share.value:.1%} ({low} to {high})"


def as_json(stack: str, by_condition: dict[str, list[Row]]) -> str:
    """One versioned object; shares as hits and number."""
    lines = [
        {"condition": condition, "least": row.least, "below": row.below, "tracks": row.tracks,
         "heads": [row.head.hits, row.head.of], "persons": [row.person.hits, row.person.of]}
        for condition, found in by_condition.items() for row in found
    ]  # fmt: skip
    return json.dumps({"schema": "lykta.far/1", "stack": stack, "least": LEAST, "rows": lines}, indent=1) + "\n"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="far", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=5, help="one in so many frames")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)
    try:
        stack, frames, labels = installed(MODELS), frames_of(options.every), read_labels(LABELS)
        seen: dict[str, Seen] = {"day": [], "faint": []}
        for side in LONG_SIDES:
            detector = open_stack(stack, MODELS, 1, side)
            seen["day"] += measure(detector, side, frames, labels)
            seen["faint"] += measure(detector, side, [faint(frame) for frame in frames], labels)
    except LyktaError as problem:
        sys.stderr.write(f"error: {problem}\n" + (f"hint: {problem.hint}\n" if problem.hint else ""))
        return problem.exit_code
    found = {condition: list(rows(some)) for condition, some in seen.items()}
    sys.stdout.write(as_json(stack, found) if options.json else table(stack, found["day"], found["faint"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
