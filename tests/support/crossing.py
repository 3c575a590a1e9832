"""A busy crossing that is drawn: people walk through it in lanes all the time, so that no place is free for long.

Fast, because who is where is known and no network runs; at a few frames a second ten minutes take seconds. People are drawn
with a head, a body and two legs, so that a box also shows what is behind them, as a box around a real person does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from privacy.masking.delay import SECOND
from privacy.masking.detection import Detection
from privacy.masking.frame_path import CADENCE_NS, Engine
from privacy.masking.frames import Frame
from privacy.masking.masker import Masker
from tests.support.scenes import HEIGHT, WIDTH

Plane = np.ndarray
LANES = ((96, 40), (128, 52), (172, 66))
"""Where feet are and how tall people are, in pixels of 320x180, from the far lane to the near one."""


def figure(high: int) -> Plane:
    """(high, wide): True where a person of that height is: a head, a body, two legs."""
    wide = max(8, high * 2 // 5)
    shape = np.zeros((high, wide), bool)
    head, hip, third = high // 6, high * 11 // 20, wide // 3
    shape[:head, third : wide - third] = True
    shape[head:hip] = True
    shape[hip:, : wide * 2 // 5] = shape[hip:, wide - wide * 2 // 5 :] = True
    return shape


@dataclass
class Passer:
    """Somebody in a lane, or who stands (speed 0). left, top: of the box, pixels; speed: pixels a second."""

    left: float
    top: int
    shape: Plane
    clothes: Plane
    speed: float

    def box(self) -> tuple[float, float, float, float]:
        return self.left, self.top, self.left + self.shape.shape[1], self.top + self.shape.shape[0]

    def draw(self, luma: Plane, truth: Plane) -> None:
        x = round(self.left)
        first, last = max(0, -x), min(self.shape.shape[1], WIDTH - x)
        if first < last:
            place = (slice(self.top, self.top + len(self.shape)), slice(x + first, x + last))
            shape = self.shape[:, first:last]
            luma[place][shape] = self.clothes[:, first:last][shape]
            truth[place] |= shape


@dataclass
class Crossing:
    """gaps: seconds from one person to the next in a lane and direction, on average; standing: somebody who stays."""

    seed: int = 1
    fps: float = 4.0
    gaps: float = 2.2
    noise: float = 2.0
    standing: Passer | None = None
    people: list[Passer] = field(default_factory=list)
    shade: float = 1.0
    """Brightness of the left third, which the sun leaves."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        rough = self.rng.integers(60, 170, (HEIGHT // 20, WIDTH // 20)).astype(np.float32)
        self.place = rough.repeat(20, axis=0).repeat(20, axis=1)
        self.grain = self.rng.normal(0, self.noise, (8, HEIGHT, WIDTH)).astype(np.float32)
        for _ in range(round(20 * self.fps)):
            self.walk()

    def passer(self, feet: int, high: int, left: float, speed: float) -> Passer:
        shape = figure(high)
        tone = self.rng.integers(20, 230, (3, 1))
        clothes = tone.repeat(-(-high // 3), axis=0)[:high].repeat(shape.shape[1], axis=1) + self.rng.integers(0, 12, shape.shape)
        return Passer(left, feet - high, shape, clothes.astype(np.uint8), speed)

    def walk(self) -> None:
        """On by one frame."""
        for person in self.people:
            person.left += person.speed / self.fps
        self.people = [one for one in self.people if -40 < one.left < WIDTH + 40]
        for feet, high in LANES:
            for way in (1, -1):
                if self.rng.random() < 1 / self.gaps / self.fps:
                    speed = float(self.rng.uniform(0.5, 0.8)) * high * way
                    lane = feet + int(self.rng.integers(-6, 7))
                    self.people.append(self.passer(lane, high, -30.0 if way > 0 else WIDTH + 4.0, speed))

    def frame(self, index: int) -> tuple[Frame, Plane]:
        """The picture and where people are in it."""
        luma, truth = self.place.copy(), np.zeros((HEIGHT, WIDTH), bool)
        luma[:, : WIDTH // 3] *= self.shade
        everybody = [*self.people, *([self.standing] if self.standing else [])]
        for person in sorted(everybody, key=lambda one: one.box()[3]):
            person.draw(luma, truth)
        buffer = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        buffer[:HEIGHT] = np.clip(luma + self.grain[self.rng.integers(8)], 0, 255)
        at = round(index / self.fps * SECOND)
        return Frame(buffer, WIDTH, HEIGHT, index, at, at), truth

    def boxes(self) -> tuple[Detection, ...]:
        """Those of whom at least a quarter is in the picture, with a detector's small errors."""
        found = []
        for person in self.people:
            left, top, right, bottom = person.box()
            if min(right, WIDTH) - max(left, 0) >= (right - left) / 4:
                off = self.rng.normal(0, 0.02, 4) * (right - left)
                corners = (max(0.0, left + off[0]), top + off[1], min(WIDTH, right + off[2]), bottom + off[3])
                found.append(Detection("person", *corners, 0.8))
        return tuple(found)


class Knowing:
    """A detector that is told who is where."""

    name = "knowing"

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self.answers: dict[int, tuple[Detection, ...]] = {}

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        return self.answers.pop(frame.index)


@dataclass(frozen=True)
class Painted:
    """One frame after masking. where: True where it is painted; truth: where people are; parts: what was painted."""

    seconds: float
    where: Plane
    truth: Plane
    parts: tuple[tuple[str, int, int, int, int], ...]


def painted(
    scene: Crossing, frames: int, *, missed: float = 0.0, found: Callable[[float], bool] = lambda _: True
) -> Iterator[Painted]:
    """`strict` over so many frames of the scene.

    missed   the share of looks in which who stands is not found
    found    whether a look at that second may find them
    """
    masker, knowing = Masker(WIDTH, HEIGHT, None, "strict"), Knowing()
    path = Engine(knowing, masker, 100, CADENCE_NS)
    truths: dict[int, Plane] = {}
    for index in range(frames):
        scene.walk()
        frame, truths[index] = scene.frame(index)
        standing = (Detection("person", *scene.standing.box(), 0.8),) if scene.standing else ()
        seen = scene.rng.random() >= missed and found(index / scene.fps)
        knowing.answers[index] = scene.boxes() + (standing if seen else ())
        for out in path.feed(frame):
            where = masker.raster(out.record) > 0
            yield Painted(out.index / scene.fps, where, truths.pop(out.index), out.record.boxes)
