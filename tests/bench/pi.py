"""What a node would cost on a Raspberry Pi: the parts measured here, multiplied by published ratios. An estimate, not a run.

The ratios of one thread come from the published tables of the ncnn project (networks of the same kind, float 32): a Pi 5 is
1.6 times slower than the machine these figures are taken on, a Pi 4 9.8 times, a Zero 2 W 30 times; each to about half and
half again. The same ratio is used for all other work, which flatters nobody: the gap is narrower there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from drivers.media.encoder import H264Encoder
from drivers.media.video import VideoFile
from privacy.masking.delay import Seen
from privacy.masking.frame_path import CADENCE, FramePath, look
from privacy.masking.frames import Frame, MaskedFrame
from privacy.masking.masker import Masker
from privacy.masking.networks.detectors import open_stack
from privacy.masking.networks.models import installed
from tests.support.nodes import MODELS

RATIOS = {"Pi 5": 1.6, "Pi 4": 9.8, "Zero 2 W (640x360)": 30.0}
HARDWARE = {"Pi 4", "Zero 2 W (640x360)"}
"""These have an H.264 encoder of their own; what is left to the processor is one copy of the picture."""
FPS = 15
FACES_S = 1.5


@dataclass(frozen=True)
class Parts:
    """Milliseconds of CPU: of one frame (paint, copy, encode), of one look for persons, of one look for faces more."""

    paint: float
    copy: float
    encode: float
    persons: float
    faces: float

    def core(self, ratio: float, *, hardware: bool) -> float:
        """Share of one core at `FPS`, looks at the engine's cadence."""
        frame = self.paint + (self.copy if hardware else self.encode)
        looks = self.persons / CADENCE + self.faces / FACES_S
        return (frame * FPS + looks) * ratio / 1000


def spent(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1000


def measure(video: Path, size: tuple[int, int]) -> Parts:
    """Means over the first six seconds of a video of pedestrians, scaled to that size."""
    source = VideoFile(video, fps=FPS, size=size)
    source.open()
    detector, path = open_stack(installed(MODELS), MODELS), FramePath(Masker(*size, None))
    encoder, every = H264Encoder(*size, FPS, bitrate=1_000_000), round(CADENCE * FPS)
    with_faces, persons, paint, copy, encode = [], [], [], [], []
    for index in range(10 * every):
        frame = source.capture()
        assert frame is not None
        copy.append(spent(frame.buffer.copy))
        if index % every == 0:
            with_faces.append(spent(partial(look, detector, _at(frame, 0))))
            persons.append(spent(partial(look, detector, _at(frame, 1))))
        seen = look(detector, frame) if index % every == 0 else None
        pictures: list[MaskedFrame] = []
        paint.append(spent(partial(_paint, path, frame, seen, pictures)))
        encode += [spent(partial(encoder.encode, picture)) for picture in pictures]
    faces = float(np.mean(with_faces)) - float(np.mean(persons))
    return Parts(float(np.mean(paint)), float(np.mean(copy)), float(np.mean(encode)), float(np.mean(persons)), faces)


def _paint(path: FramePath, frame: Frame, seen: Seen | None, pictures: list[MaskedFrame]) -> None:
    path.push(frame)
    if seen:
        path.learn(seen)
    pictures += path.ready(frame.mono_ns)


def _at(frame: Frame, index: int) -> Frame:
    """The same picture as the first of a source (then faces are looked for), or as the next one (then not)."""
    return Frame(frame.buffer, frame.width, frame.height, index, index, 0)


def table(video: Path) -> str:
    """The parts measured and the estimate made of them, as Markdown."""
    large, small = measure(video, (1280, 720)), measure(video, (640, 360))
    lines = [
        "| ms of CPU here, one thread | paint a frame | copy | encode | persons, a look | faces, a look more |",
        "|---|---|---|---|---|---|",
    ]
    for name, parts in (("1280x720", large), ("640x360", small)):
        figures = (parts.paint, parts.copy, parts.encode, parts.persons, parts.faces)
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in figures) + " |")
    lines += ["", f"| {FPS} frames a second | slower by | cores, encoder of the chip | cores, libx264 |", "|---|---|---|---|"]
    for name, ratio in RATIOS.items():
        parts = small if "640" in name else large
        chip = f"{parts.core(ratio, hardware=True):.2f}" if name in HARDWARE else "has none"
        lines.append(f"| {name} | {ratio} | {chip} | {parts.core(ratio, hardware=False):.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from tests.support.nodes import VIDEO

    sys.stdout.write(table(VIDEO))
