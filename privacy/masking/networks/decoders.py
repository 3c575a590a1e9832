"""The networks: each runs on the analysis picture and decodes its own output into boxes, as `detectors.Network` says.

Decoding follows the networks' published heads: YOLOX (arXiv 2107.08430: grid, exp, objectness times class), NanoDet (Generalized
Focal Loss, arXiv 2006.04388: the mean of a distribution over distances), CenterFace (arXiv 1911.03599: centre heat map at stride
4), RTMDet (arXiv 2212.07784: distances from a cell's corner).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from privacy.errors import CrowdError
from privacy.masking.detection import Kind
from privacy.masking.frames import Plane
from privacy.masking.networks.inference import Array, Inference
from privacy.masking.networks.large_faces import LEAST_OVERLAP, LEAST_SCORE

_PERSON = 0
_VEHICLES = [2, 3, 5, 7]  # COCO: car, motorcycle, bus, truck
_VEHICLE_SCORE = 0.3
_OVERLAP = 0.5
_DEVIATION = np.array((57.375, 57.12, 58.395), np.float32).reshape(1, 3, 1, 1)
_BINS = 11  # NanoDet-g: distances 0 to 10, in strides
_MOST = 1000


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
        bins = np.concatenate([out[0].reshape(4, _BINS, -1).transpose(2, 0, 1) for out in outputs[3:]])
        weights = np.exp(bins - bins.max(axis=2, keepdims=True))
        cells, strides = _grid(image.shape[0], image.shape[1], 0.5)
        sides = (weights @ np.arange(_BINS, dtype=np.float32)) / weights.sum(axis=2) * strides
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
        return np.asarray((overlaps(boxes * np.float32(0.5), found) >= LEAST_OVERLAP).any(axis=1))

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
        _chosen("vehicle", boxes, vehicles, _VEHICLE_SCORE),
    ]


def _chosen(kind: Kind, boxes: Array, scores: Array, least: float) -> tuple[Kind, Array, Array]:
    keep = scores >= least
    return kind, *_suppress(boxes[keep], scores[keep])


def overlaps(some: Array, others: Array) -> Array:
    """Intersection over union of each pair of boxes: (n, 4) and (m, 4) give (n, m), 0 to 1."""
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
