"""The home scene: a drawn bus stop at 320x180 where everything happens that happens at a bus stop, and where it is known.

Time is compressed: `FPS` frames stand for a second. A shot carries the frame, where people and vehicles are, and which pixels
are people's. The truth detector answers from the shot, because networks do not reliably find drawn people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from privacy.masking.detection import Detection
from privacy.masking.frame_path import Engine, cadence, look
from privacy.masking.frames import Frame
from privacy.masking.mask_record import PERSON, TONES
from privacy.masking.masker import Masker
from privacy.masking.tracking import Tracker
from privacy.masking.view_guard import ViewGuard
from privacy.records.basis import Profile

WIDTH, HEIGHT, FPS = 320, 180, 3
SECOND = 1_000_000_000
Box = tuple[int, int, int, int]
COATS = (205, 30, 176, 215)
"""Luma of coats that nothing else in the scene has."""
TINTS = ((118, 134), (132, 124), (104, 168), (120, 140))
"""Their chroma (u, v): cream, navy, red, beige."""


@dataclass(frozen=True)
class Shot:
    """One moment. people: pixels of people (height, width); boxes are left, top, right, bottom."""

    frame: Frame
    second: float
    people: np.ndarray
    persons: tuple[Box, ...]
    vehicles: tuple[Box, ...]


@dataclass(frozen=True)
class Events:
    """What happens when: spans in seconds, empty where it does not happen."""

    bus: tuple[float, float] = (0, 0)
    lights: tuple[float, float] = (0, 0)
    rain: tuple[float, float] = (0, 0)
    door: tuple[float, float] = (0, 0)
    snow: tuple[float, float] = (0, 0)
    advertisement: bool = True
    people: bool = True


DAY = Events(bus=(180, 780), rain=(840, 1020), door=(1080, 1140))
NIGHT = Events(bus=(180, 780), lights=(840, 1020), rain=(1040, 1140), door=(1160, 1200))


class TruthDetector:
    """Answers what the shot says. Set `shot` before it is asked."""

    name, parts = "truth", ()

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self.shots: dict[int, Shot] = {}

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        shot = self.shots[frame.index]
        people = (Detection("person", *map(float, box), 0.9) for box in shot.persons)
        return (*people, *(Detection("vehicle", *map(float, box), 0.9) for box in shot.vehicles))


def shots(events: Events, seconds: int, *, night: bool = False, seed: int = 1) -> Iterator[Shot]:
    """The scene, moment after moment."""
    rng, empty, tints = np.random.default_rng(seed), stop(), _tints()
    light = _lamp() if night else None
    for index in range(seconds * FPS):
        second = index / FPS
        luma, chroma = empty.copy(), tints.copy()
        _leaves(luma, second)
        if events.advertisement:
            luma[60:110, 288:308] = 120 + 80 * (int(second * 2) % 3 == 0)
        vehicles = _bus(luma, events.bus, second)
        for left, top, right, bottom in vehicles:
            _tint(chroma, (left, top, right, bottom - 14), 168, 108)
        if _during(events.door, second):
            luma[82:140, 96:112] = 220 if int(second) % 2 else 60
        persons, people = _people(luma, chroma, second) if events.people else ((), np.zeros(luma.shape, bool))
        picture = _seen(luma, events, second, light, rng)
        if _during(events.snow, second):
            chroma = chroma + (128 - chroma) * _snow()[::2, ::2]
        yield Shot(
            _frame(picture, chroma if light is None else 128 + (chroma - 128) * 0.5, index), second, people, persons, vehicles
        )


def stop() -> np.ndarray:
    """Luma of the empty place by day: houses, a tree, pavement, kerb, road, shelter and bench, a pole with its sign, a lamp."""
    return _stop().copy()


@cache
def _stop() -> np.ndarray:
    luma = np.full((HEIGHT, WIDTH), 150, np.uint8)
    luma[:70] = np.linspace(190, 165, 70).astype(np.uint8)[:, None]
    for left, top, wide, tone in ((0, 20, 60, 105), (62, 34, 50, 125), (190, 12, 64, 110), (258, 30, 62, 130)):
        luma[top:95, left : left + wide] = tone
        for y in range(top + 6, 88, 13):
            for x in range(left + 6, left + wide - 8, 12):
                luma[y : y + 7, x : x + 6] = tone + 55
    luma[95:140], luma[140:144], luma[144:] = 135, 190, 88
    luma[160:163, ::40] = 170
    for x in range(0, WIDTH, 40):
        luma[160:163, x : x + 18] = 180
    luma[58:64, 90:186] = 60
    for x in (92, 182):
        luma[64:140, x : x + 3] = 55
    luma[112:116, 110:168] = 70
    luma[30:140, 236:239] = 60
    cv2.circle(luma, (237, 28), 5, 230, -1)
    luma[58:112, 286:310] = 70
    luma[72:138, 214:217], luma[64:80, 207:224], luma[67:77, 210:221] = 75, 60, 200
    luma[100:140, 264:270] = 60
    _crown(luma, 0, 0)
    return luma


def _crown(luma: np.ndarray, across: int, down: int) -> None:
    for x, y, wide in ((258, 84, 12), (274, 86, 13), (266, 70, 14)):
        cv2.circle(luma, (x + across, y + down), wide, 92, -1)


def _leaves(luma: np.ndarray, second: float) -> None:
    """The wind in the tree: the crown sways by a pixel and its leaves glitter."""
    sway = round(1.4 * float(np.sin(second * 1.7)))
    _crown(luma, sway, 0)
    index = np.arange(26)
    angle, far = index * 2.4 + 0.4 * np.sin(second * 2.1 + index), 19 * np.sqrt((index + 1) / 26)
    x, y = (266 + sway + far * np.cos(angle)).astype(int), (80 + far * np.sin(angle)).astype(int)
    luma[y, x] = luma[y, x + 1] = np.where(index % 2, 112, 74)


@cache
def _tints() -> np.ndarray:
    """Chroma of the empty place (2, rows / 2, columns / 2)."""
    chroma = np.full((2, HEIGHT // 2, WIDTH // 2), 128, np.float32)
    _tint(chroma, (0, 0, WIDTH, 70), 140, 120)
    for left, top, wide, u, v in ((0, 20, 60, 114, 150), (62, 34, 50, 118, 134), (190, 12, 64, 112, 146), (258, 30, 62, 120, 132)):
        _tint(chroma, (left, top, left + wide, 95), u, v)
    _tint(chroma, (93, 64, 182, 138), 136, 122)
    _tint(chroma, (110, 112, 168, 116), 108, 144)
    _tint(chroma, (207, 64, 224, 80), 160, 110)
    _tint(chroma, (264, 96, 270, 140), 116, 138)
    for x, y in ((258, 84), (274, 86), (266, 70)):
        for part, value in zip(chroma, (108.0, 112.0), strict=True):
            cv2.circle(part, (x // 2, y // 2), 6, value, -1)
    return chroma


def _tint(chroma: np.ndarray, box: Box, u: float, v: float) -> None:
    left, top, right, bottom = (side // 2 for side in box)
    chroma[0, top:bottom, left:right], chroma[1, top:bottom, left:right] = u, v


def _bus(luma: np.ndarray, span: tuple[float, float], second: float) -> tuple[Box, ...]:
    """Comes in from the left in four seconds, covers four fifths of the picture, leaves."""
    if not span[0] <= second < span[1]:
        return ()
    wide = round(0.8 * WIDTH * min(1.0, (second - span[0]) / 4 + 0.1, (span[1] - second) / 4 + 0.1))
    luma[10:158, :wide] = 78
    luma[120:126, :wide] = 150
    for x in range(6, wide - 28, 36):
        luma[28:74, x : x + 28] = 165
    for x in (40, 190):
        if x < wide:
            cv2.circle(luma, (x, 156), 12, 38, -1)
    return ((0, 10, wide, 168),)


def _people(luma: np.ndarray, chroma: np.ndarray, second: float) -> tuple[tuple[Box, ...], np.ndarray]:
    """Somebody who walks by each forty seconds, one who waits on from minute two, two who stand before the bus."""
    people = np.zeros(luma.shape, bool)
    places = [(-14 + 12 * (second % 40), 150, 60, COATS[0])]
    if second >= 120:
        places.append((140.0, 139, 48, COATS[1]))
    if 200 <= second < 760:
        places += [(60.0, 152, 62, COATS[2]), (210.0, 150, 58, COATS[3])]
    boxes = []
    for left, feet, tall, coat in places:
        box = _person(luma, people, round(left), feet, tall, coat)
        here = np.zeros(luma.shape, bool)
        here[box[1] : box[3], box[0] : box[2]] = people[box[1] : box[3], box[0] : box[2]]
        for part, value in zip(chroma, TINTS[COATS.index(coat)], strict=True):
            part[here[::2, ::2]] = value
        if box[0] < box[2]:
            boxes.append(box)
    return tuple(boxes), people


def _person(luma: np.ndarray, people: np.ndarray, left: int, feet: int, tall: int, coat: int) -> Box:
    wide, head = max(6, tall // 3), tall // 7
    drawn = np.zeros(luma.shape, np.uint8)
    middle = left + wide // 2
    cv2.rectangle(drawn, (left + 1, feet - tall + 2 * head), (left + wide - 2, feet - tall // 3), coat, -1)
    cv2.rectangle(drawn, (left + wide // 4, feet - tall // 3), (left + 3 * wide // 4, feet - 1), coat, -1)
    cv2.circle(drawn, (middle, feet - tall + head), head, coat, -1)
    where = drawn > 0
    luma[where] = coat
    people |= where
    return max(0, left), feet - tall, max(0, min(WIDTH, left + wide)), feet


def _seen(luma: np.ndarray, events: Events, second: float, lamp: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """What the sensor makes of it: light, weather, noise, and what sits on the lens."""
    picture = luma.astype(np.float32)
    if lamp is None:
        picture *= 1.0 + 0.12 * np.sin(second / 60)  # clouds
    else:
        picture *= lamp
        picture += _glow(luma)
        if _during(events.lights, second):
            picture += _beam(second)
    if _during(events.rain, second):
        for x, y, long in zip(rng.integers(0, WIDTH, 60), rng.integers(0, HEIGHT, 60), rng.integers(4, 12, 60), strict=True):
            cv2.line(picture, (int(x), int(y)), (int(x - long // 4), int(y + long)), float(picture[y, x]) + 40.0, 1)
    grain = _grain()[rng.integers(0, 8)]
    picture += np.roll(grain, rng.integers(0, grain.size), axis=None) * (1.5 if lamp is None else 3.0)
    if _during(events.snow, second):
        picture += (235 - picture) * _snow()
    return np.clip(picture, 16, 235).astype(np.uint8)


@cache
def _grain() -> np.ndarray:
    """Noise of the sensor: eight fields, each used from anywhere, cost a fifth of a new one for each frame."""
    return np.random.default_rng(7).standard_normal((8, HEIGHT, WIDTH), np.float32)


def _glow(luma: np.ndarray) -> np.ndarray:
    """What shines by itself at night, unless something stands before it: the lamp, the advertisement."""
    shining = np.zeros(luma.shape, np.float32)
    shining[22:35, 231:244] = 150 * (luma[22:35, 231:244] == 230)
    panel = luma[60:110, 288:308]
    shining[60:110, 288:308] = 0.35 * panel * ((panel == 120) | (panel == 200))
    return shining


@cache
def _lamp() -> np.ndarray:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    pool = np.exp(-(((x - 200) / 130) ** 2 + ((y - 110) / 80) ** 2))
    return np.asarray(0.22 + 0.42 * pool, np.float32)


def _beam(second: float) -> np.ndarray:
    """Headlights that sweep through in eight seconds, again and again."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    middle = (second % 20) / 8 * (WIDTH + 120) - 60
    return np.asarray(170 * np.exp(-(((x - middle) / 45) ** 2 + ((y - 140) / 30) ** 2)), np.float32)


@cache
def _snow() -> np.ndarray:
    """A soft blob over a fifth of the picture, in a corner of the lens."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    far = np.sqrt(((x - 34) / 84) ** 2 + ((y - 44) / 72) ** 2)
    return np.asarray(np.clip((1.15 - far) * 3, 0, 0.97), np.float32)


def _frame(luma: np.ndarray, chroma: np.ndarray, index: int) -> Frame:
    buffer = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
    buffer[:HEIGHT] = luma
    buffer[HEIGHT:] = chroma.reshape(-1, WIDTH)
    at = round(index / FPS * SECOND)
    return Frame(buffer, WIDTH, HEIGHT, index, at, at)


def _during(span: tuple[float, float], second: float) -> bool:
    return span[0] <= second < span[1]


@dataclass
class Watched:
    """What a run of the scene through the engine showed.

    full      fully masked frames by cause, after the first minute
    bare      people's pixels that left as they were
    tampers   kinds of standing the view guard took, in order, with the second
    shapes    share of frames with a bus in which a person stood out from it in their own tone
    """

    frames: int
    full: Counter[str]
    bare: int
    tampers: list[tuple[str, int]]
    shapes: float
    painted: float


def watch(scene: Iterator[Shot], profile: Profile = "standard") -> Watched:
    """The scene through the whole frame path, with the view guard beside it as the camera service has it."""
    detector, masker, guard = TruthDetector(), Masker(WIDTH, HEIGHT, None, profile), ViewGuard()
    engine, found = Engine(detector, masker, cadence(FPS)), Watched(0, Counter(), 0, [], 0.0, 0.0)
    clear: dict[int, np.ndarray] = {}
    before, with_shape, painted = "", [], []
    for shot in scene:
        detector.shots[shot.frame.index] = shot
        clear[shot.frame.index] = shot.frame.planes[0][shot.people].copy()
        seen = look(detector, shot.frame, guard=True)
        assert seen.luma is not None
        hidden = Tracker(WIDTH, HEIGHT).step(SECOND, seen.detections).regions(1.0, WIDTH, HEIGHT)
        standing = guard.look(seen.luma, hidden, (WIDTH, HEIGHT), shot.frame.mono_ns)
        if standing.kind != before:
            before = standing.kind
            found.tampers.append((before, int(shot.second)))
        for out in engine.feed(shot.frame):
            done = detector.shots.pop(out.index)
            luma = out.buffer[:HEIGHT]
            was = clear.pop(out.index)
            tones = [tone[0] for tone in TONES]
            found.bare += int(((luma[done.people] == was) & ~np.isin(was, tones)).sum())
            if done.second >= 60:
                found.frames += 1
                found.full[out.record.cause] += bool(out.record.cause)
                painted.append(float((masker.raster(out.record) > 0).mean()))
            if done.vehicles and len(done.persons) > 1 and not out.full:
                with_shape.append(any(box[0] == "vehicle" for box in out.record.boxes) and bool((luma == PERSON[0]).any()))
    found.shapes = float(np.mean(with_shape)) if with_shape else 0.0
    found.painted = float(np.mean(painted))
    return found
