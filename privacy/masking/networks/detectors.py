"""Detectors of small networks: whole persons and vehicles, and faces as a supplement.

All networks get one small analysis picture, made from the I420 planes; the full frame is never converted or copied.
`networks.decoders` runs each network and decodes its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from privacy.errors import DetectorError
from privacy.masking.detection import Detection, Detector, Kind
from privacy.masking.frames import Frame, Plane
from privacy.masking.light import NIGHT, halved, level
from privacy.masking.networks.decoders import CenterFace, NanoDet, RtmDet, YoloxNano, YuNet, overlaps
from privacy.masking.networks.inference import Array, Inference
from privacy.masking.networks.large_faces import believed
from privacy.masking.networks.models import load_files, stack_of

_PAD = 114
# Luma levels between the darkest and the brightest hundredth of the pixels. By day a picture with fewer than the first is
# stretched; fewer than the second count as the second.
_FAINT, _FAINTEST = 110, 16
# Interval of face detection. Faces supplement whole persons, so they are detected less often; the tracker holds them meanwhile.
_FACES_NS = 1_500_000_000
# Two boxes with this intersection over union count as one person.
_SAME = 0.5


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
    image = np.full((-(-height // 32) * 32, -(-width // 32) * 32, 3), _PAD, np.uint8)
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


def _without_doubles(answers: list[list[tuple[Kind, Array, Array]]]) -> Iterator[tuple[Kind, Array, Array]]:
    """The detections of all networks in order, without persons whom an earlier network has detected too.

    Two boxes of one person would become two tracks, and the area between them would be painted.
    """
    known = np.empty((0, 4), np.float32)
    for answer in answers:
        for kind, boxes, scores in answer:
            if kind == "person":
                fresh = ~(overlaps(boxes, known) >= _SAME).any(axis=1)
                boxes, scores = boxes[fresh], scores[fresh]  # noqa: PLW2901
                known = np.vstack((known, boxes))
            yield kind, boxes, scores


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
