"""Detectors of small networks: whole persons and vehicles, and faces as a supplement.

All networks get one small analysis picture, made from the I420 planes; the full frame is never converted or copied. Decoding
follows the networks' published heads: YOLOX (arXiv 2107.08430: grid, exp, objectness times class), NanoDet (Generalized Focal
Loss, arXiv 2006.04388: the mean of a distribution over distances), CenterFace (arXiv 1911.03599: centre heat map at stride 4),
RTMDet (arXiv 2212.07784: distances from a cell's corner).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from privacy.errors import CrowdError, DetectorError
from privacy.masking.detection import Detection, Detector, Kind
from privacy.masking.frames import Frame, Plane
from privacy.masking.light import NIGHT, halved, level
from privacy.masking.networks.inference import Array, Inference
from privacy.masking.networks.large_faces import LEAST_OVERLAP, LEAST_SCORE, believed
from privacy.masking.networks.models import load_files, stack_of

PAD = 114
_PERSON = 0
_VEHICLES = [2, 3, 5, 7]  # COCO: car, motorcycle, bus, truck
VEHICLE_SCORE = 0.3
_OVERLAP = 0.5
# Luma levels between the darkest and the brightest hundredth of the pixels. By day a picture with fewer than the first is
# stretched; fewer than the second count as the second.
_FAINT, _FAINTEST = 110, 16
# Interval of face detection. Faces supplement whole persons, so they are detected less often; the tracker holds them meanwhile.
_FACES_NS = 1_500_000_000
# Two boxes with this intersection over union count as one person.
_SAME = 0.5
_DEVIATION = np.array((57.375, 57.12, 58.395), np.float32).reshape(1, 3, 1, 1)
BINS = 11  # NanoDet-g: distances 0 to 10, in strides
_MOST = 1000


class Network(Protocol):
    """One network. `find` returns (kind, boxes (n, 4), scores (n,)) in pixels of the padded analysis picture (h, w, 3) BGR.

    dim   the picture was taken at night: a lower score is sufficient
    """

    def find(self, image: Plane, dim: bool) -> list[tuple[Kind, Array, Array]]: ...


class FaceNetwork(Network, Protocol):
    """A network for faces."""

    def again(self, image: Plane, boxes: Array) -> npt.NDArray[np.bool_]:
        """(n,): which of these faces (n, 4) are also detected, with a low score, in the picture at half size."""


class StackDetector:
    """The `Detector` of one stack. Not thread-safe, together with its `parts`, which share its networks.

    models      sha256 of each model file by name
    people      networks for people by name; a person whom an earlier one detects is not taken again from a later one
    faces       the network for faces, or None
    long_side   of the analysis picture, pixels
    """

    def __init__(
        self, name: str, models: dict[str, str], people: dict[str, Network], faces: FaceNetwork | None, long_side: int
    ) -> None:
        self.name, self.models = name, models
        self._people, self._faces, self._long_side = tuple(people.values()), faces, long_side
        self._faces_ns = 0
        alone = people.items() if len(people) > 1 else ()
        self.parts: tuple[Detector, ...] = tuple(
            StackDetector(one, models, {one: network}, None, long_side) for one, network in alone
        )

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        dim = level(frame) < NIGHT
        image, scale = analysis_image(frame, self._long_side, faint=not dim)
        answers = [network.find(image, dim) for network in self._people]
        if self._faces and self._due(frame):
            answers.append(self._look_for_faces(self._faces, image, dim, answers))
        found: list[Detection] = []
        for kind, boxes, scores in _without_doubles(answers):
            found += _detections(kind, boxes / scale, scores, max(frame.width, frame.height))
        return tuple(found)

    def _look_for_faces(
        self, network: FaceNetwork, image: Plane, dim: bool, found: list[list[tuple[Kind, Array, Array]]]
    ) -> list[tuple[Kind, Array, Array]]:
        """The faces in a picture. With two networks for people, doubtful large faces are left out (`large_faces`): of 1,337 real
        faces this loses none. With only one network it would lose 4."""
        faces = network.find(image, dim)
        if len(self._people) < 2:
            return faces
        people = np.concatenate([boxes for answer in found for kind, boxes, _ in answer if kind == "person"])
        kept = [(kind, boxes, scores, believed(image, boxes, people, network.again)) for kind, boxes, scores in faces]
        return [(kind, boxes[keep], scores[keep]) for kind, boxes, scores, keep in kept]

    def _due(self, frame: Frame) -> bool:
        """Whether to detect faces in this frame: in the first one of a source, and every 1.5 s."""
        due = frame.index == 0 or not 0 <= frame.mono_ns - self._faces_ns < _FACES_NS
        if due:
            self._faces_ns = frame.mono_ns
        return due


def open_stack(name: str, folder: Path, threads: int = 1, long_side: int = 0) -> Detector:
    """The detector of a stack, from verified files; `ModelError` if one is missing, damaged or not the pinned one.

    long_side   of the analysis picture, pixels; 0: the stack's default
    """
    stack = stack_of(name)
    data = load_files(folder, stack)
    cv2.setNumThreads(threads)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    hashes = {file.name: file.sha256 for file in stack.files}
    long_side = long_side or stack.long_side
    people, faces = _NETWORKS[name](_Loader(data, threads))
    return StackDetector(name, hashes, people, faces, long_side)


def analysis_image(frame: Frame, long_side: int, *, faint: bool = False) -> tuple[Plane, float]:
    """The frame at small size as BGR, padded to multiples of 32 at the right and bottom, and the scale (small / full).

    faint   stretch the contrast if it is low, as in fog
    """
    scale = long_side / max(frame.width, frame.height)
    width, height = _even(frame.width * scale), _even(frame.height * scale)
    small = np.empty((height * 3 // 2, width), np.uint8)
    luma, *chroma = (halved(plane, scale) for plane in frame.planes)
    cv2.resize(luma, (width, height), dst=small[:height], interpolation=cv2.INTER_AREA)
    quarter = small[height:].reshape(2, height // 2, width // 2)
    for plane, target in zip(chroma, quarter, strict=True):
        cv2.resize(plane, (width // 2, height // 2), dst=target, interpolation=cv2.INTER_AREA)
    if faint:
        _stretch(small, height)
    image = np.full((-(-height // 32) * 32, -(-width // 32) * 32, 3), PAD, np.uint8)
    image[:height, :width] = cv2.cvtColor(small, cv2.COLOR_YUV2BGR_I420)
    return image, scale


def _stretch(small: Plane, height: int) -> None:
    """Stretch luma and colour of an I420 picture in place, if 98 % of its luma lies within fewer than `_FAINT` levels."""
    counts = np.bincount(small[:height].reshape(-1), minlength=256).cumsum()
    low, high = (int(np.searchsorted(counts, share * counts[-1])) for share in (0.01, 0.99))
    if high - low >= _FAINT:
        return
    gain, levels = 219 / max(high - low, _FAINTEST), np.arange(256)
    for part, before, after in ((small[:height], low, 16), (small[height:], 128, 128)):
        table = np.clip((levels - before) * gain + after, 0, 255).astype(np.uint8)
        cv2.LUT(part, table, dst=part)


class YoloxNano:
    """Persons and vehicles; BGR 0-255, no normalisation; output (1, cells, 85) on strides 8, 16, 32."""

    SCORE, DIM_SCORE = 0.05, 0.025

    def __init__(self, network: Inference, score: float = SCORE) -> None:
        self._network, self._score = network, score

    def find(self, image: Plane, dim: bool) -> list[tuple[Kind, Array, Array]]:
        output = self._network.run(cv2.dnn.blobFromImage(image))[0][0]
        cells, strides = _grid(image.shape[0], image.shape[1], 0.0)
        centre = (output[:, :2] + cells) * strides
        half = np.exp(output[:, 2:4]) * strides / 2
        boxes = np.hstack((centre - half, centre + half))
        scores = output[:, 4:5] * output[:, 5:]
        return _persons_and_vehicles(boxes, scores, self.DIM_SCORE if dim else self._score)


class RtmDet:
    """Persons; BGR with NanoDet's mean and deviation; class maps and distances in strides, for each of three strides."""

    SCORE, DIM_SCORE = 0.26, 0.13

    def __init__(self, network: Inference) -> None:
        self._network = network

    def find(self, image: Plane, dim: bool) -> list[tuple[Kind, Array, Array]]:
        outputs = self._network.run(_normal(image), ["cls8", "cls16", "cls32", "reg8", "reg16", "reg32"])
        scores = 1 / (1 + np.exp(-np.concatenate([out.reshape(-1) for out in outputs[:3]])))
        cells, strides = _grid(image.shape[0], image.shape[1], 0.0)
        sides = np.concatenate([out[0].reshape(4, -1).T for out in outputs[3:]]) * strides
        boxes = np.hstack((cells * strides - sides[:, :2], cells * strides + sides[:, 2:]))
        return [_chosen("person", boxes, scores, self.DIM_SCORE if dim else self.SCORE)]


class NanoDet:
    """Persons and vehicles; BGR with NanoDet's mean and deviation; class maps and distance distributions for three strides."""

    SCORE, DIM_SCORE = 0.15, 0.10

    def __init__(self, network: Inference) -> None:
        self._network = network

    def find(self, image: Plane, dim: bool) -> list[tuple[Kind, Array, Array]]:
        outputs = self._network.run(_normal(image), ["cls8", "cls16", "cls32", "dis8", "dis16", "dis32"])
        scores = np.concatenate([out[0].reshape(80, -1).T for out in outputs[:3]])
        bins = np.concatenate([out[0].reshape(4, BINS, -1).transpose(2, 0, 1) for out in outputs[3:]])
        weights = np.exp(bins - bins.max(axis=2, keepdims=True))
        cells, strides = _grid(image.shape[0], image.shape[1], 0.5)
        sides = (weights @ np.arange(BINS, dtype=np.float32)) / weights.sum(axis=2) * strides
        centre = cells * strides
        boxes = np.hstack((centre - sides[:, :2], centre + sides[:, 2:]))
        return _persons_and_vehicles(boxes, scores, self.DIM_SCORE if dim else self.SCORE)


class YuNet:
    """Faces, through OpenCV's wrapper of this network."""

    def __init__(self, data: bytes, score: float = 0.3) -> None:
        self._score = score
        self._net = cv2.FaceDetectorYN.create("onnx", np.frombuffer(data, np.uint8), np.empty(0, np.uint8), (320, 192), score, 0.3)

    def find(self, image: Plane, dim: bool) -> list[tuple[Kind, Array, Array]]:  # noqa: ARG002 - one threshold day and night
        return [("face", *self._look(image, self._score))]

    def again(self, image: Plane, boxes: Array) -> npt.NDArray[np.bool_]:
        half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        found, _ = self._look(np.asarray(half, np.uint8), LEAST_SCORE)
        return np.asarray((_overlaps(boxes * np.float32(0.5), found) >= LEAST_OVERLAP).any(axis=1))

    def _look(self, image: Plane, score: float) -> tuple[Array, Array]:
        """Boxes (n, 4) and scores (n,) of faces with that score or more."""
        self._net.setScoreThreshold(score)
        self._net.setInputSize((image.shape[1], image.shape[0]))
        _, faces = self._net.detect(image)
        if faces is None:
            return np.empty((0, 4), np.float32), np.empty(0, np.float32)
        found = np.asarray(faces, np.float32)
        return np.hstack((found[:, :2], found[:, :2] + found[:, 2:4])), found[:, 14]


class CenterFace:
    """Faces; RGB 0-255; heat map, log size (h, w) and offset (y, x) at stride 4."""

    def __init__(self, network: Inference, score: float = 0.2) -> None:
        self._network, self._score = network, score

    def find(self, image: Plane, dim: bool) -> list[tuple[Kind, Array, Array]]:  # noqa: ARG002 - one threshold day and night
        outputs = self._network.run(cv2.dnn.blobFromImage(image, swapRB=True), ["537", "538", "539", "540"])
        heat, size, offset, _landmarks = (out[0] for out in outputs)
        rows, columns = np.nonzero(heat[0] > self._score)
        half = np.exp(size[::-1, rows, columns]) * 2
        centre = (np.stack((columns, rows)) + offset[::-1, rows, columns] + 0.5) * 4
        boxes = np.vstack((centre - half, centre + half)).T.astype(np.float32)
        return [("face", *_suppress(boxes, heat[0, rows, columns]))]

    def again(self, image: Plane, boxes: Array) -> npt.NDArray[np.bool_]:  # noqa: ARG002 - not measured: accept all
        return np.ones(len(boxes), bool)


def _persons_and_vehicles(boxes: Array, scores: Array, person_score: float) -> list[tuple[Kind, Array, Array]]:
    """Boxes of persons and of vehicles above their thresholds, after non-maximum suppression."""
    vehicles = scores[:, _VEHICLES].max(axis=1)
    return [
        _chosen("person", boxes, scores[:, _PERSON], person_score),
        _chosen("vehicle", boxes, vehicles, VEHICLE_SCORE),
    ]


def _chosen(kind: Kind, boxes: Array, scores: Array, least: float) -> tuple[Kind, Array, Array]:
    keep = scores >= least
    return kind, *_suppress(boxes[keep], scores[keep])


def _without_doubles(answers: list[list[tuple[Kind, Array, Array]]]) -> Iterator[tuple[Kind, Array, Array]]:
    """The detections of all networks in order, without persons whom an earlier network has detected too.

    Two boxes of one person would become two tracks, and the area between them would be painted.
    """
    known = np.empty((0, 4), np.float32)
    for answer in answers:
        for kind, boxes, scores in answer:
            if kind == "person":
                fresh = ~(_overlaps(boxes, known) >= _SAME).any(axis=1)
                boxes, scores = boxes[fresh], scores[fresh]  # noqa: PLW2901
                known = np.vstack((known, boxes))
            yield kind, boxes, scores


def _overlaps(some: Array, others: Array) -> Array:
    """Intersection over union of each pair, (len(some), len(others))."""
    sides = np.minimum(some[:, None, 2:], others[:, 2:]) - np.maximum(some[:, None, :2], others[:, :2])
    common = sides.clip(0).prod(axis=2)
    area, area_others = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (some, others))
    return np.asarray(common / np.maximum(area[:, None] + area_others - common, 1e-6), np.float32)


def _suppress(boxes: Array, scores: Array) -> tuple[Array, Array]:
    """Non-maximum suppression; `CrowdError` for more than `_MOST` boxes, which would take too long."""
    if len(boxes) > _MOST:
        raise CrowdError(f"detector: {len(boxes)} boxes in one picture", "a crowd, or a damaged model or picture")
    if not len(boxes):
        return boxes, scores
    corner_size = np.hstack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2])).astype(np.float64)
    kept = np.asarray(cv2.dnn.NMSBoxes(corner_size.tolist(), scores.astype(float).tolist(), 0.0, _OVERLAP)).reshape(-1)
    return boxes[kept], scores[kept]


def _detections(kind: Kind, boxes: Array, scores: Array, longest: int) -> list[Detection]:
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise DetectorError(f"detector: a {kind} box is not finite", "the model or the picture is damaged")
    # Limit boxes that are far larger than the picture.
    bounded = np.clip(boxes, -longest / 4, longest * 1.25)
    return [
        Detection(kind, float(left), float(top), float(right), float(bottom), float(score))
        for (left, top, right, bottom), score in zip(bounded, scores, strict=True)
        if right > left and bottom > top
    ]


@lru_cache(maxsize=8)
def _grid(height: int, width: int, shift: float) -> tuple[Array, Array]:
    """Coordinates (cells, 2) and strides (cells, 1) of the cells for strides 8, 16 and 32, row by row. shift: added to the
    coordinates."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[0 : height // stride, 0 : width // stride].astype(np.float32) + shift
        cells.append(np.stack((x.ravel(), y.ravel()), axis=1))
        strides.append(np.full((x.size, 1), stride, np.float32))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides)


def _normal(image: Plane) -> npt.NDArray[np.float32]:
    """(1, 3, h, w), normalised by the mean and deviation of ImageNet, BGR."""
    return np.asarray(cv2.dnn.blobFromImage(image, mean=(103.53, 116.28, 123.675)) / _DEVIATION, np.float32)


def _even(value: float) -> int:
    return max(2, round(value / 2) * 2)


class _Loader:
    """The networks of one stack's files, each loaded once."""

    def __init__(self, files: dict[str, bytes], threads: int) -> None:
        self._files, self._threads = files, threads

    def network(self, name: str) -> Inference:
        return Inference(self._files[name], self._threads)

    def yunet(self) -> YuNet:
        return YuNet(self._files["yunet_n_640_640.onnx"])


_Networks = tuple[dict[str, Network], FaceNetwork]
_NETWORKS: dict[str, Callable[[_Loader], _Networks]] = {
    # In combination with another network YOLOX gets a higher threshold: people whom both detect have high scores in both.
    "rtmdet-nano+yolox-nano+yunet": lambda loader: (
        {
            "rtmdet-nano": RtmDet(loader.network("rtmdet_nano_person.onnx")),
            "yolox-nano": YoloxNano(loader.network("yolox_nano.onnx"), 0.08),
        },
        loader.yunet(),
    ),
    "yolox-nano+yunet": lambda loader: ({"yolox-nano": YoloxNano(loader.network("yolox_nano.onnx"))}, loader.yunet()),
    "nanodet-g+centerface": lambda loader: (
        {"nanodet-g": NanoDet(loader.network("nanodet_g.onnx"))},
        CenterFace(loader.network("centerface.onnx")),
    ),
}
