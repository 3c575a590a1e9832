"""The self-test: detects and masks drawn people and compares the result with the one stored at release (R25).

It tests that network, decoding, margins and painting work, not the detection rate, which is measured elsewhere (docs/MASKING.md).
The people are drawings, in colours and sizes that each shipped network for people scores at 0.6 or more; no photograph of a person
is stored. If a stack has two such networks, each must detect them by itself. YuNet must detect one face, drawn larger in a picture
of its own, because the faces of the drawn people are too small for it. CenterFace was not measured with it and is not tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from privacy.errors import ModelError
from privacy.masking.delay import Verdict
from privacy.masking.detection import Detection, Detector, Kind, flaw
from privacy.masking.frames import Frame, Plane
from privacy.masking.mask_record import PERSON
from privacy.masking.masker import Masker
from privacy.masking.tracking import SECOND, Tracker

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
WIDTH, HEIGHT = 1280, 720
# Middle, feet, height in pixels, coat (BGR).
PEOPLE: tuple[tuple[int, int, int, Colour], ...] = (
    (256, 540, 144, (90, 60, 40)),
    (576, 576, 216, (40, 40, 150)),
    (960, 648, 302, (60, 110, 60)),
)
LEAST_SCORE, LEAST_OVERLAP = 0.5, 0.5
# Results of the shipped networks for these three people: left, top, right, bottom, score. Other builds and processors round
# differently, by hundredths; a changed weight, a changed decoding or another network differs by far more.
Answer = tuple[float, float, float, float, float]
Answers = tuple[Answer, ...]
_RTMDET: Answers = (
    (229.7, 391.3, 284.7, 544.3, 0.819),
    (536.8, 358.8, 617.4, 583.3, 0.797),
    (905.8, 336.5, 1017.7, 660.5, 0.619),
)
_YOLOX: Answers = (
    (227.7, 395.8, 285.4, 542.5, 0.861),
    (538.6, 360.7, 616.3, 580.5, 0.883),
    (908.8, 346.6, 1017.2, 653.9, 0.906),
)
STORED: dict[str, Answers] = {
    "rtmdet-nano": _RTMDET,
    "yolox-nano": _YOLOX,
    # Both networks detect all three; the results of the first one are used.
    "rtmdet-nano+yolox-nano+yunet": _RTMDET,
    "yolox-nano+yunet": _YOLOX,
    "nanodet-g+centerface": (
        (227.9, 391.6, 283.9, 544.3, 0.767),
        (537.2, 382.8, 620.0, 582.7, 0.693),
        (902.7, 349.6, 1013.7, 656.3, 0.777),
    ),
}
# Middle (x, y) and size of the drawn face in its picture, pixels; and the results of the stacks' networks for faces.
FACE = (640, 330, 220)
_YUNET: Answer = (555.0, 223.2, 719.8, 446.2, 0.877)
STORED_FACE: dict[str, Answer] = {"rtmdet-nano+yolox-nano+yunet": _YUNET, "yolox-nano+yunet": _YUNET}
SCORE_OFF, PIXELS_OFF = 0.08, 6.0


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    passed: bool
    detail: str


def run(detector: Detector) -> tuple[Check, ...]:
    """Run all checks: the detector on the drawn people and on the drawn face, and each of its parts on the people.

    An exception becomes a failed check. The names of a part's checks begin with the network's name.
    """
    checks = list(_look(detector, painting=True))
    for part in detector.parts:
        checks += (replace(check, name=f"{part.name}: {check.name}") for check in _look(part, painting=False))
    return (*checks, *_face(detector))


def require(detector: Detector) -> tuple[Check, ...]:
    """Run all checks and return them; `ModelError` with the first failed one if not all passed."""
    checks = run(detector)
    for check in checks:
        if not check.passed:
            raise ModelError(
                f"self-test: {check.name}: {check.detail}",
                "run make setup again; if it still fails, send `lykta selftest --json`",
                "self_test_failed",
            )
    return checks


def picture() -> Frame:
    """The drawn people as a frame, 1280x720."""
    scene = _empty()
    for x, feet, tall, coat in PEOPLE:
        draw_person(scene, x, feet, tall, coat, (70, 60, 56))
    return _frame(scene)


def face_picture() -> Frame:
    """The drawn face as a frame, 1280x720."""
    scene = _empty()
    draw_face(scene, *FACE)
    return _frame(scene)


def _empty() -> Plane:
    scene = np.full((HEIGHT, WIDTH, 3), (150, 140, 130), np.uint8)
    scene[HEIGHT * 3 // 5 :] = (90, 92, 95)
    return scene


def _frame(scene: Plane) -> Frame:
    return Frame(np.asarray(cv2.cvtColor(scene, cv2.COLOR_BGR2YUV_I420), np.uint8), WIDTH, HEIGHT, 0, 0, 0)


def boxes() -> tuple[Box, ...]:
    """The boxes of the drawn people: left, top, right, bottom in pixels."""
    return tuple((x - tall * 0.16, feet - tall, x + tall * 0.16, feet) for x, feet, tall, _ in PEOPLE)


def draw_person(scene: Plane, x: int, feet: int, tall: int, coat: Colour, trousers: Colour) -> None:
    """Draw a person into a picture (h, w, 3) BGR.

    x, feet, tall    middle, lower end and height, pixels
    coat, trousers   BGR
    """
    unit = tall / 8
    skin: Colour = (150, 178, 214)

    def at(dx: float, up: float) -> tuple[int, int]:
        return round(x + dx * unit), round(feet - up * unit)

    for side in (-1, 1):
        leg = [at(side * 0.1, 3.8), at(side * 0.75, 3.8), at(side * 0.62, 0.2), at(side * 0.18, 0.2)]
        cv2.fillPoly(scene, [np.array(leg)], trousers)
        cv2.ellipse(scene, at(side * 0.5, 0.12), (round(unit * 0.42), round(unit * 0.18)), 0, 0, 360, (30, 30, 34), -1)
        cv2.line(scene, at(side * 0.85, 6.2), at(side * 1.15, 3.9), coat, round(unit * 0.5))
        cv2.circle(scene, at(side * 1.16, 3.7), round(unit * 0.22), skin, -1)
    body = [at(-0.95, 6.5), at(0.95, 6.5), at(0.85, 3.6), at(-0.85, 3.6)]
    cv2.fillPoly(scene, [np.array(body)], coat)
    cv2.ellipse(scene, at(0, 7.3), (round(unit * 0.45), round(unit * 0.58)), 0, 0, 360, skin, -1)
    cv2.ellipse(scene, at(0, 7.55), (round(unit * 0.48), round(unit * 0.42)), 0, 180, 360, (40, 50, 62), -1)


def draw_face(scene: Plane, x: int, y: int, size: int) -> None:
    """Draw a face into a picture (h, w, 3) BGR. x, y: its middle; size: its height; pixels."""
    unit = size / 10

    def at(dx: float, dy: float) -> tuple[int, int]:
        return round(x + dx * unit), round(y + dy * unit)

    def oval(middle: tuple[int, int], wide: float, high: float, colour: tuple[int, int, int]) -> None:
        cv2.ellipse(scene, middle, (round(wide * unit), round(high * unit)), 0, 0, 360, colour, -1)

    oval(at(0, -1), 4.4, 5.6, (40, 50, 62))
    oval(at(0, 0.4), 3.7, 4.9, (150, 178, 214))
    for side in (-1, 1):
        oval(at(side * 1.5, -0.5), 0.8, 0.4, (240, 240, 240))
        oval(at(side * 1.5, -0.5), 0.38, 0.38, (40, 40, 50))
        cv2.line(scene, at(side * 0.8, -1.5), at(side * 2.3, -1.5), (40, 50, 62), max(1, round(0.35 * unit)))
    cv2.line(scene, at(0, -0.3), at(-0.3, 1.2), (120, 145, 180), max(1, round(0.3 * unit)))
    cv2.line(scene, at(-0.3, 1.2), at(0.4, 1.3), (110, 135, 170), max(1, round(0.3 * unit)))
    oval(at(0, 2.8), 1.4, 0.45, (90, 90, 170))


def _look(detector: Detector, *, painting: bool) -> Iterator[Check]:
    """Checks of one run on the drawn people. painting: also check the masks."""
    frame = picture()
    found = _answer(detector, frame)
    if isinstance(found, Check):
        yield found
        return
    people = [_best(found, "person", box) for box in boxes()]
    yield from _people(people)
    yield from _outputs(detector.name, people)
    if painting:
        yield _painting(frame, found)


def _face(detector: Detector) -> Iterator[Check]:
    """Checks of one run on the drawn face, if a result is stored for the stack."""
    if detector.name not in STORED_FACE:
        return
    found = _answer(detector, face_picture())
    if isinstance(found, Check):
        yield replace(found, name="face")
        return
    stored = STORED_FACE[detector.name]
    one = _best(found, "face", stored[:4])
    score = one.score if one else 0.0
    yield Check("face", abs(score - stored[4]) <= SCORE_OFF, f"score {score:.2f}, stored {stored[4]:.2f}")


def _answer(detector: Detector, frame: Frame) -> tuple[Detection, ...] | Check:
    """The detections; a failed check if the detector raises an exception or gives an invalid result."""
    try:
        found = detector.detect(frame)
    except Exception as problem:  # noqa: BLE001 - a network may raise any exception; that is what is being tested
        return Check("detector", False, f"{type(problem).__name__}: {problem}")
    absurd = flaw(found, WIDTH, HEIGHT)
    return Check("detector", False, absurd) if absurd else found


def _best(found: tuple[Detection, ...], kind: Kind, box: Box) -> Detection | None:
    """The detection of that kind with the largest overlap with the box, if it reaches `LEAST_OVERLAP`."""
    alike = [one for one in found if one.kind == kind]
    best = max(alike, key=lambda one: _overlap(one, box), default=None)
    return best if best and _overlap(best, box) >= LEAST_OVERLAP else None


def _overlap(one: Detection, box: Box) -> float:
    """Intersection over union."""
    wide, high = min(one.right, box[2]) - max(one.left, box[0]), min(one.bottom, box[3]) - max(one.top, box[1])
    common = max(0.0, wide) * max(0.0, high)
    return common / ((one.right - one.left) * (one.bottom - one.top) + (box[2] - box[0]) * (box[3] - box[1]) - common)


def _people(people: list[Detection | None]) -> Iterator[Check]:
    for (_, _, tall, _), one in zip(PEOPLE, people, strict=True):
        score = one.score if one else 0.0
        yield Check(f"person of {tall} pixels", score >= LEAST_SCORE, f"score {score:.2f}, at least {LEAST_SCORE}")


def _outputs(name: str, people: list[Detection | None]) -> Iterator[Check]:
    """Compare with the stored results; no check for a detector that has none, e.g. an AI camera."""
    for (_, _, tall, _), one, stored in zip(PEOPLE, people, STORED.get(name, ()), strict=False):
        got = (one.left, one.top, one.right, one.bottom) if one else (0.0, 0.0, 0.0, 0.0)
        pixels = max(abs(a - b) for a, b in zip(got, stored[:4], strict=True))
        score = abs((one.score if one else 0.0) - stored[4])
        good = pixels <= PIXELS_OFF and score <= SCORE_OFF
        yield Check(f"stored output of {tall} pixels", good, f"off by {pixels:.1f} pixels and {score:.3f} of the score")


def _painting(frame: Frame, found: tuple[Detection, ...]) -> Check:
    """Check that the people, and nothing else, are painted. The picture is first filled with other values than the tones, so that a
    masker that paints nothing fails also on a dark picture."""
    tracker = Tracker(WIDTH, HEIGHT)
    tracker.step(SECOND, found)
    regions = tracker.step(2 * SECOND, found).regions(1.0, WIDTH, HEIGHT)
    luma = frame.planes[0]
    luma[:] = np.where(np.indices(luma.shape).sum(axis=0) % 2, 40, 220).astype(np.uint8)
    before = luma.copy()
    Masker(WIDTH, HEIGHT, None).mask(frame, Verdict(regions))
    bare = sum(int((luma[int(t) : int(b), int(le) : int(r)] != PERSON[0]).sum()) for le, t, r, b in boxes())
    untouched = np.ones(luma.shape, bool)
    for region in regions:
        untouched[region.top : region.bottom, region.left : region.right] = False
    spilled = int((luma[untouched] != before[untouched]).sum())
    return Check("painting", bare == 0 and spilled == 0, f"{bare} pixels of people bare, {spilled} painted beside the masks")
