"""Selects a sensor mode: full field of view, fast enough, and no larger than necessary.

libcamera's own choice considers the size only and may crop the field of view, which would show another part of the street than
the one that was assessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from privacy.errors import MediaError


class Mode(Struct, frozen=True):
    """One mode of a sensor.

    size   width and height of its pictures, pixels
    view   width and height of the part of the sensor that it reads, pixels
    bits   bit depth
    fps    highest frame rate
    """

    size: tuple[int, int]
    view: tuple[int, int]
    bits: int
    fps: float

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Mode:
        """From an entry of picamera2's `sensor_modes`."""
        width, height = found["size"]
        view = found.get("crop_limits", (0, 0, width, height))[2:]
        return cls((int(width), int(height)), (int(view[0]), int(view[1])), int(found["bit_depth"]), float(found["fps"]))

    @classmethod
    def read_all(cls, found: Sequence[Mapping[str, Any]]) -> list[Mode]:
        """From picamera2's `sensor_modes`. Entries without a size, as USB cameras have, are skipped."""
        return [cls.read(one) for one in found if "size" in one]

    def __str__(self) -> str:
        return f"{self.size[0]}x{self.size[1]} at {self.fps:.0f} fps"


def choose(modes: Sequence[Mode], width: int, height: int, fps: int) -> Mode:
    """The mode for pictures of that size at that rate; `MediaError` with the list of modes if there is none."""
    fit = [mode for mode in modes if mode.size[0] >= width and mode.size[1] >= height and mode.fps >= fps]
    if not fit:
        known = ", ".join(str(mode) for mode in modes) or "none"
        raise MediaError(
            f"camera: width, height, fps: no mode of the sensor gives {width}x{height} at {fps} fps",
            f"it has: {known}; is it the camera that was assessed?",
            "mode_refused",
        )
    widest = max(mode.view[0] * mode.view[1] for mode in fit)
    whole = [mode for mode in fit if mode.view[0] * mode.view[1] >= 0.95 * widest]
    return min(whole, key=lambda mode: (mode.size[0] * mode.size[1], -mode.fps, mode.bits))
