"""What an attacker gets to see: labelled people of a clip, masked in every way that cameras offer, coded, and cropped.

For `tests.bench.attack`. The solid fill is painted by the real masker over the boxes that the real growth makes of the
labels; the other masks are painted over the same boxes.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import numpy.typing as npt

from drivers.media.video import VideoFile
from privacy.errors import MediaError
from privacy.masking.delay import Verdict
from privacy.masking.detection import Detection, Kind
from privacy.masking.frames import Frame, Plane, planes_of
from privacy.masking.mask_record import PERSON
from privacy.masking.masker import Masker
from privacy.masking.regions import Region, enclose
from tests.support.scenes import painted

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
SMALL = (12, 28)  # width and height every crop is scaled to
LEAST = 20  # pixels; a box that left the picture so far that less is seen of its width or height is left out


@dataclass(frozen=True, slots=True)
class Label:
    """One person in one frame. Frames count from 1; pixels."""

    track: int
    frame: int
    x: float
    y: float
    width: float
    height: float

    def region(self, width: int, height: int) -> Region:
        """What Lykta paints for a detection of exactly this box."""
        return self._grown("person", (self.x, self.y, self.x + self.width, self.y + self.height), width, height)

    def head(self, width: int, height: int) -> Region:
        """Middle half of the width, upper 16 % of the height, grown as a face is."""
        left, right = self.x + 0.25 * self.width, self.x + 0.75 * self.width
        return self._grown("face", (left, self.y, right, self.y + 0.16 * self.height), width, height)

    def _grown(self, kind: Kind, corners: tuple[float, float, float, float], width: int, height: int) -> Region:
        (region,) = painted((Detection(kind, *corners, 1.0),), width, height)
        return region


Labels = dict[int, list[Label]]


def read_labels(path: Path) -> Labels:
    """People by frame number. CSV with a header: frame,id,x,y,w,h,conf,class."""
    if not path.exists():
        raise MediaError(f"{path}: no labels there", "name them with --labels; they are research data and not in the repository")
    found: Labels = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            x, y, width, height = (float(row[key]) for key in "xywh")
            found[int(row["frame"])].append(Label(int(row["id"]), int(row["frame"]), x, y, width, height))
    return found


def frames_of(path: Path) -> Iterator[Frame]:
    if not path.exists():
        raise MediaError(f"{path}: no video there", "`make setup` fetches it, or name one with --video")
    video = VideoFile(path)
    video.open()
    while (frame := video.capture()) is not None:
        yield frame
    video.close()


class Scene:
    """One frame, its people, and the clip's median picture, which stands for the place without people."""

    def __init__(self, frame: Frame, people: list[Label], median: Plane) -> None:
        self.frame, self.people, self.median = frame, people, median
        self.size = frame.width, frame.height

    def views(self, buffer: Plane, region: Region) -> tuple[Plane, Plane, Plane]:
        """A region of the three planes of an I420 buffer; writing to them writes the buffer."""
        luma, blue, red = planes_of(buffer, *self.size)
        rows, columns = slice(region.top // 2, region.bottom // 2), slice(region.left // 2, region.right // 2)
        return luma[region.top : region.bottom, region.left : region.right], blue[rows, columns], red[rows, columns]


Paint = Callable[[Scene, Plane, Label], None]


def nothing(scene: Scene, buffer: Plane, label: Label) -> None:
    """Unmasked: the upper bound."""


def nobody(scene: Scene, buffer: Plane, label: Label) -> None:
    """The place without the person: what an attacker learns from surroundings and not from people."""
    region = label.region(*scene.size)
    for plane, empty in zip(scene.views(buffer, region), scene.views(scene.median, region), strict=True):
        plane[:] = empty


def mosaic(blocks: int) -> Paint:
    """So many square blocks across the painted box."""

    def paint(scene: Scene, buffer: Plane, label: Label) -> None:
        for plane in scene.views(buffer, label.region(*scene.size)):
            height, width = plane.shape
            coarse = cv2.resize(plane, (blocks, max(1, round(blocks * height / width))), interpolation=cv2.INTER_AREA)
            plane[:] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)

    return paint


def blur(share: float, where: Callable[..., Region] = Label.region) -> Paint:
    """Gaussian over a region; sigma is this share of the region's width."""

    def paint(scene: Scene, buffer: Plane, label: Label) -> None:
        for plane in scene.views(buffer, where(label, *scene.size)):
            plane[:] = cv2.GaussianBlur(plane, (0, 0), max(0.5, share * plane.shape[1]))

    return paint


def silhouette(scene: Scene, buffer: Plane, label: Label) -> None:
    """Lykta's tone, only where the picture differs from the clip's median: a shape of the person, inside the box."""
    region = label.region(*scene.size)
    now, empty = scene.views(scene.frame.buffer, region), scene.views(scene.median, region)
    luma, blue, red = (cv2.absdiff(a, b) for a, b in zip(now, empty, strict=True))
    coloured = ((blue > 8) | (red > 8)).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    differs = np.maximum(luma > 20, coloured).astype(np.uint8)
    shape = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    half = shape.reshape(shape.shape[0] // 2, 2, -1, 2).max(axis=(1, 3))
    for plane, mask, value in zip(scene.views(buffer, region), (shape, half, half), PERSON, strict=True):
        plane[mask > 0] = value


def solid(scene: Scene) -> Plane:
    """The shipped mask: the real masker over the grown boxes of all people in the frame."""
    frame = scene.frame
    masker = Masker(*scene.size, None)
    copy = Frame(frame.buffer.copy(), *scene.size, frame.index, frame.mono_ns, frame.wall_ns)
    masked = masker.mask(copy, Verdict(tuple(label.region(*scene.size) for label in scene.people)))
    if masked.full:
        raise MediaError(f"frame {frame.index} was painted whole: {masked.record.cause}", "the test needs a clip by day")
    return masked.buffer


PAINTS: dict[str, Paint | None] = {
    "none": nothing, "face": blur(1 / 4, Label.head), "blur 1/8": blur(1 / 8), "blur 1/4": blur(1 / 4),
    "mosaic 8": mosaic(8), "mosaic 4": mosaic(4), "mosaic 2": mosaic(2), "silhouette": silhouette,
    "solid": None, "nobody": nobody,
}  # fmt: skip


def masked(scene: Scene, paint: Paint | None) -> Plane:
    """The whole frame as this mask leaves it, all labelled people masked one after the other."""
    if paint is None:
        return solid(scene)
    buffer = scene.frame.buffer.copy()
    for label in scene.people:
        paint(scene, buffer, label)
    return buffer


class Coder:
    """H.264 with the settings of `drivers.media.encoder`, which itself takes nothing but a `MaskedFrame`; and back to I420."""

    def __init__(self, width: int, height: int) -> None:
        self._coder = av.CodecContext.create("libx264", "w")
        self._coder.width, self._coder.height, self._coder.pix_fmt = width, height, "yuv420p"
        self._coder.time_base, self._coder.framerate = Fraction(1, 7), Fraction(7)
        self._coder.gop_size, self._coder.thread_count = 7, 1
        self._coder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
        self._reader = av.CodecContext.create("h264", "r")
        self._reader.thread_count = 1
        self._frames = 0

    def __call__(self, buffer: Plane) -> Plane:
        picture = av.VideoFrame.from_numpy_buffer(buffer, "yuv420p", self._coder.width)
        picture.pts, self._frames = self._frames, self._frames + 1
        (shown,) = (shown for packet in self._coder.encode(picture) for shown in self._reader.decode(packet))
        return cast(Plane, shown.to_ndarray())


Cut = Callable[[Region, int, int], Region]


def exact(region: Region, width: int, height: int) -> Region:
    return region


def inside(region: Region, width: int, height: int) -> Region:
    """8 pixels inside the border, where the centre's check looks too: coding mixes the border with what lies outside."""
    return replace(region, left=region.left + 8, top=region.top + 8, right=region.right - 8, bottom=region.bottom - 8)


def margin(region: Region, width: int, height: int) -> Region:
    """With a quarter of the box more at each side: surroundings."""
    dx, dy = 0.25 * (region.right - region.left), 0.25 * (region.bottom - region.top)
    return enclose("person", (region.left - dx, region.top - dy, region.right + dx, region.bottom + dy), width, height)


@dataclass(frozen=True, slots=True)
class Sight:
    """What is tried: a mask, the crop the attacker takes of it, and whether it was coded before."""

    name: str
    paint: str
    cut: Cut = exact
    coded: bool = True


UNMASKED = "unmasked"
BLURRED = "blur, sigma 1/4 of the box"
PAINTED = "solid fill, as painted"
INSIDE = "solid fill, coded, 8 px inside"
SIGHTS = (
    Sight(UNMASKED, "none"), Sight("face blurred", "face"),
    Sight("blur, sigma 1/8 of the box", "blur 1/8"), Sight(BLURRED, "blur 1/4"),
    Sight("mosaic, 8 blocks across", "mosaic 8"), Sight("mosaic, 4 blocks across", "mosaic 4"),
    Sight("mosaic, 2 blocks across", "mosaic 2"), Sight("silhouette", "silhouette"),
    Sight(PAINTED, "solid", exact, False), Sight(INSIDE, "solid", inside),
    Sight("solid fill, coded, to the edge", "solid"), Sight("solid fill, coded, with margin", "solid", margin),
    Sight("control: nobody in the box", "nobody"),
)  # fmt: skip


@dataclass(frozen=True)
class Gallery:
    """Crops of all labelled people, in order of time.

    looks   by sight: (n, 3, 28, 12) uint8: luma and chroma, each crop scaled to one size
    boxes   (n, 5): middle, foot, log of height, log of width over height, frame: of the painted box, pixels
    tracks  (n,) 0 .. people - 1;  frames (n,) from 1
    """

    looks: dict[str, Plane]
    boxes: Floats
    tracks: Whole
    frames: Whole

    @property
    def people(self) -> int:
        return int(self.tracks.max()) + 1


def gather(video: Path, labels: Labels, sights: tuple[Sight, ...] = SIGHTS, step: int = 1) -> Gallery:
    """Mask, code and crop every step-th frame of a clip in every way asked for."""
    median = np.median([frame.buffer for frame in frames_of(video) if frame.index % 16 == 0], axis=0).astype(np.uint8)
    coders: dict[str, Coder] = {}
    looks: dict[str, list[Plane]] = defaultdict(list)
    people: list[tuple[Label, Region]] = []
    for frame in frames_of(video):
        if frame.index % step:
            continue
        scene = Scene(frame, labels.get(frame.index + 1, []), median)
        here = [(label, label.region(*scene.size)) for label in scene.people]
        here = [(label, region) for label, region in here if _seen(region)]
        people += here
        for paint in dict.fromkeys(sight.paint for sight in sights):
            raw = masked(scene, PAINTS[paint])
            coded = coders.setdefault(paint, Coder(*scene.size))(raw)
            for sight in sights:
                if sight.paint == paint:
                    looks[sight.name] += [_crop(scene, coded if sight.coded else raw, sight.cut(r, *scene.size)) for _, r in here]
    if max(labels) > frame.index + 1:
        raise MediaError(f"{video}: {frame.index + 1} frames, the labels reach frame {max(labels)}", "name the clip they belong to")
    names = {track: number for number, track in enumerate(sorted({label.track for label, _ in people}))}
    tracks = np.array([names[label.track] for label, _ in people])
    frames = np.array([label.frame for label, _ in people])
    return Gallery({name: np.array(crops) for name, crops in looks.items()}, _boxes(people), tracks, frames)


def _seen(region: Region) -> bool:
    return min(region.right - region.left, region.bottom - region.top) >= LEAST


def _crop(scene: Scene, buffer: Plane, region: Region) -> Plane:
    views = scene.views(buffer, region)
    return np.stack([cv2.resize(plane, SMALL, interpolation=cv2.INTER_AREA) for plane in views]).astype(np.uint8)


def _boxes(people: list[tuple[Label, Region]]) -> Floats:
    sides = np.array([(r.left, r.top, r.right, r.bottom, label.frame) for label, r in people], float)
    left, top, right, bottom, frame = sides.T
    width, height = right - left, bottom - top
    return np.stack([(left + right) / 2, bottom, np.log(height), np.log(width / height), frame], axis=1)
