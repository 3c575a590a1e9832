"""Random faults on the frame path, judged where the encoder would stand: does any pixel of a person leave as it was?

A small street at 320x180 in which people walk, stand, come and go; a detector that knows them exactly and answers with a
delay; and faults, one episode after the other, drawn from a seed. What the suite proves is that faults never uncover
anybody; how many people a real network misses is measured elsewhere (`make evaluate`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from privacy.masking.changes import STEPS
from privacy.masking.delay import SECOND, DelayLine, Seen
from privacy.masking.detection import Detection
from privacy.masking.frame_path import SLOWEST, FramePath, look
from privacy.masking.frames import Frame, MaskedFrame, require_masked
from privacy.masking.mask_record import TONES
from privacy.masking.masker import Masker
from privacy.records.basis import Profile
from tests.support.scenes import HEIGHT, WIDTH

FAULTS = (
    *["none"] * 20, "raise", "nan", "type", "flood", "huge", "empty_box", "late", "very_late", "hang", "swap",
    "capture_gap", "slow_frames", "still_clock", "exposure", "flicker", "dark", "mode", "hidden", *["visitor"] * 4,
)  # fmt: skip
BLIND_S = 0.25
"""How long no detector finds anybody after the exposure jumped."""


@dataclass
class Walker:
    """A person: left upper corner and size in pixels, speed and wanted speed in pixels a second, clothes of their own."""

    x: float
    y: float
    wide: int
    high: int
    speed: float
    wanted: float
    clothes: np.ndarray

    def walk(self, seconds: float) -> None:
        """On at their speed, which changes as fast as people's does: by 1.4 m/s in about a second."""
        change = 0.8 * self.high * seconds
        self.speed += float(np.clip(self.wanted - self.speed, -change, change))
        self.x += self.speed * seconds

    def box(self) -> tuple[float, float, float, float]:
        return self.x, self.y, self.x + self.wide, self.y + self.high

    def visible(self) -> tuple[int, int, int, int]:
        """Whole pixels inside the picture; empty if right <= left."""
        left, top = max(0, int(self.x)), max(0, int(self.y))
        return left, top, min(WIDTH, int(self.x) + self.wide), min(HEIGHT, int(self.y) + self.high)


@dataclass(frozen=True)
class Visitor:
    """Somebody who stands in the picture for a frame or a few, not much brighter than what is behind them, and is gone.

    until_ns   the last moment at which they are there
    """

    left: int
    top: int
    right: int
    bottom: int
    until_ns: int

    def draw(self, luma: np.ndarray, truth: np.ndarray) -> None:
        """In place: brighter by a little more than the gate between looks needs, whatever the light."""
        place = (slice(self.top, self.bottom), slice(self.left, self.right))
        luma[place] = np.minimum(luma[place], 255 - STEPS - 1) + STEPS + 1
        truth[place] = True

    def found(self) -> Detection:
        return Detection("person", self.left, self.top, self.right, self.bottom, 0.8)


@dataclass
class Street:
    """People on a textured background. Walkers go at up to 1.4 m/s, scaled by their height, and sometimes stand."""

    rng: np.random.Generator
    people: list[Walker] = field(default_factory=list)

    def __post_init__(self) -> None:
        rough = self.rng.integers(60, 150, (HEIGHT // 20, WIDTH // 20)).astype(np.uint8)
        self.background = rough.repeat(20, axis=0).repeat(20, axis=1)

    def walk(self, seconds: float) -> None:
        for person in self.people:
            person.walk(seconds)
            # Nobody turns on the very edge: a sliver that peeks in between two looks is seen by no detector that samples.
            inside = 0 < person.x < WIDTH - person.wide
            if inside and self.rng.random() < 0.3 * seconds:
                person.wanted = float(self.rng.choice([0.0, -1.0, 1.0])) * self._pace(person.high)
        self.people = [person for person in self.people if -2 * person.wide < person.x < WIDTH + person.wide]
        if len(self.people) < 5 and self.rng.random() < 0.6 * seconds:
            self.people.append(self._newcomer())

    def _pace(self, high: int) -> float:
        return float(self.rng.uniform(0.2, 0.8) * high)  # up to 1.4 m a second for somebody of 1.75 m

    def _newcomer(self) -> Walker:
        high = int(self.rng.integers(24, 110))
        wide = max(8, high * 2 // 5)
        side = bool(self.rng.random() < 0.5)
        speed = self._pace(high) * (1 if side else -1)
        clothes = self.rng.integers(200, 250, (high, wide)).astype(np.uint8)
        y = float(self.rng.integers(-high // 4, HEIGHT - high // 2))
        return Walker(-wide if side else WIDTH, y, wide, high, speed, speed, clothes)

    def draw(self, gain: float) -> tuple[np.ndarray, np.ndarray]:
        """Luma and where people are in it."""
        luma, truth = self.background.copy(), np.zeros((HEIGHT, WIDTH), bool)
        for person in self.people:
            left, top, right, bottom = person.visible()
            if left < right and top < bottom:
                x, y = int(person.x), int(person.y)
                luma[top:bottom, left:right] = person.clothes[top - y : bottom - y, left - x : right - x]
                truth[top:bottom, left:right] = True
        return (luma if math.isclose(gain, 1) else np.clip(luma * gain, 0, 255).astype(np.uint8)), truth

    def detections(self) -> tuple[Detection, ...]:
        """Everybody of whom something can be seen, with a detector's small errors."""
        found = []
        for person in self.people:
            left, top, right, bottom = person.visible()
            if left < right and top < bottom:
                noise = self.rng.normal(0, 0.02, 4) * ((right - left, bottom - top) * 2)
                found.append(Detection("person", left + noise[0], top + noise[1], right + noise[2], bottom + noise[3], 0.8))
        return tuple(found)


class FaultyDetector:
    """Answers what it is told, or fails as the fault says."""

    name, parts = "faulty", ()

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self.fault = "none"
        self.truth: tuple[Detection, ...] = ()

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        nan = float("nan")
        match self.fault:
            case "raise":
                raise RuntimeError("the network is gone")
            case "nan":
                return (Detection("person", nan, 0, 10, 10, 0.9),)
            case "type":
                return None  # type: ignore[return-value]
            case "flood":
                return (Detection("person", 0, 0, 5, 5, 0.9),) * 10_000
            case "huge":
                return (Detection("person", -1e9, -1e9, 1e9, 1e9, 0.9),)
            case "empty_box":
                return (Detection("person", 10, 10, 10, 10, 0.9),)
        return self.truth


@dataclass
class Judge:
    """Stands where the encoder stands."""

    frames: int = 0
    people: int = 0
    full: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    raw: dict[int, tuple[np.ndarray, np.ndarray, str]] = field(default_factory=dict)

    def expect(self, frame: Frame, truth: np.ndarray, fault: str) -> None:
        where = np.flatnonzero(truth)
        self.raw[frame.index] = (where, frame.planes[0].reshape(-1)[where].copy(), fault)

    def encode(self, picture: MaskedFrame) -> None:
        require_masked(picture)
        assert picture.index == self.frames, "frames leave once and in order"
        where, before, fault = self.raw.pop(picture.index)
        luma = picture.buffer[: picture.height].reshape(-1)[where]
        bare = int(((luma == before) & ~np.isin(before, [tone[0] for tone in TONES])).sum())
        self.frames += 1
        self.people += bool(len(where))
        if picture.record.cause:
            self.full[picture.record.cause] += 1
        if bare:
            self.leaks.append(f"frame {picture.index}: {bare} pixels of people, during {fault}")


@dataclass
class _Asked:
    """A look on its way."""

    seen: Seen
    index: int
    due_ns: int


class Run:
    """One seed: a street, a detector, faults, a judge."""

    def __init__(self, seed: int, profile: Profile = "standard", line: DelayLine | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.street, self.detector, self.judge = Street(self.rng), FaultyDetector(), Judge()
        self.path = FramePath(Masker(WIDTH, HEIGHT, None, profile), line)
        self.now_ns, self.step_ns = 0, SECOND // 15
        self.gain, self.jumped_ns = 1.0, -SECOND
        self.visitor: Visitor | None = None
        self.asked: list[_Asked] = []
        self.before: list[_Asked] = []
        self.asked_ns = -SECOND

    def frames(self, number: int) -> Judge:
        """Push so many frames through the path; the judge has seen them all."""
        episodes = self._episodes()
        for index in range(number):
            self._frame(index, next(episodes))
        for picture in self.path.end():
            self.judge.encode(picture)
        return self.judge

    def _episodes(self) -> Iterator[str]:
        while True:
            fault = str(self.rng.choice(FAULTS))
            if fault == "slow_frames":
                self.step_ns = SECOND // int(self.rng.integers(4, 31))
            for _ in range(int(self.rng.integers(3, 60))):
                yield fault

    def _frame(self, index: int, fault: str) -> None:
        self._light(fault)
        # For one's clock to stand still is a fault of the time stamps, not of people's legs: nobody moves meanwhile.
        passed = 0 if fault == "still_clock" else self.step_ns
        if fault == "capture_gap" and self.rng.random() < 0.2:
            passed = int(self.rng.uniform(0.1, 3.0) * SECOND)
        self.now_ns += passed
        self.street.walk(passed / SECOND)
        self._visit(fault)
        frame, truth = self._picture(index, fault)
        self.judge.expect(frame, truth, fault)
        self.path.hidden = "view_moved" if fault == "hidden" else ""
        self.path.push(frame)
        self._ask(frame, fault)
        self._answer(index)
        for picture in self.path.ready(frame.mono_ns):
            self.judge.encode(picture)

    def _light(self, fault: str) -> None:
        gain = {"exposure": 0.35 if math.isclose(self.gain, 1) and self.rng.random() < 0.2 else self.gain, "dark": 0.01}.get(
            fault, 1.0
        )
        if fault == "flicker":
            gain = float(self.rng.choice([0.3, 1.0, 2.0]))
        if not 0.85 < gain / self.gain < 1.18:
            self.jumped_ns = self.now_ns + self.step_ns
        self.gain = gain

    def _visit(self, fault: str) -> None:
        if self.visitor and self.visitor.until_ns < self.now_ns:
            self.visitor = None
        if fault == "visitor" and not self.visitor and self.rng.random() < 0.3:
            high = int(self.rng.integers(16, 90))
            wide, lasts = max(8, high // 3), self.rng.uniform(0, 0.8) * SECOND
            left, top = int(self.rng.integers(0, WIDTH - wide)), int(self.rng.integers(0, HEIGHT - high))
            self.visitor = Visitor(left, top, left + wide, top + high, self.now_ns + round(lasts))

    def _picture(self, index: int, fault: str) -> tuple[Frame, np.ndarray]:
        luma, truth = self.street.draw(self.gain)
        if self.visitor:
            self.visitor.draw(luma, truth)
        if fault == "mode":
            luma, truth = np.ascontiguousarray(luma[::2, ::2]), truth[::2, ::2]
        height, width = luma.shape
        buffer = np.full((height * 3 // 2, width), 128, np.uint8)
        buffer[:height] = luma
        return Frame(buffer, width, height, index, self.now_ns, self.now_ns), truth

    def _ask(self, frame: Frame, fault: str) -> None:
        if self.asked or frame.mono_ns + self.step_ns - self.asked_ns <= SLOWEST * SECOND:
            return
        self.asked_ns = frame.mono_ns
        blind = self.gain < 0.05 or frame.mono_ns - self.jumped_ns < BLIND_S * SECOND or frame.width != WIDTH
        self.detector.fault = fault
        visitors = (self.visitor.found(),) if self.visitor else ()
        self.detector.truth = () if blind else (*self.street.detections(), *visitors)
        delay = {"late": 0.6, "very_late": 2.5, "hang": 8.0}.get(fault, 0.1)
        seen = look(self.detector, frame)
        self.asked.append(_Asked(seen, frame.index, frame.mono_ns + int(self.rng.uniform(0.2, 1) * delay * SECOND)))
        if fault == "swap":
            # The same answer again, and once more the one before.
            self.asked += [self.asked[-1], *self.before]
        self.before = [replace(self.asked[0], due_ns=0)]

    def _answer(self, index: int) -> None:
        """Hand over what is due. A picture that left before the answer was painted: nobody could be found in it."""
        due = [asked for asked in self.asked if asked.due_ns <= self.now_ns]
        self.asked = [asked for asked in self.asked if asked.due_ns > self.now_ns]
        for asked in due:
            gone = asked.index < self.judge.frames
            self.path.learn(Seen(asked.seen.mono_ns) if gone and not asked.seen.cause else asked.seen)
