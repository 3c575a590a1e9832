"""Which of a sensor's modes films a scene: the whole field of view, fast enough, and no larger than it must be.

A mode that crops would show another piece of the street than the one that was assessed; libcamera left alone picks by size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from privacy.errors import MediaError


class Mode(Struct, frozen=True):
    """size: width and height of what the sensor gives; view: of the part of its surface that it reads; fps: at most."""

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
        """From picamera2's `sensor_modes`. A USB camera names formats without sizes: none of them is a sensor's mode."""
        return [cls.read(one) for one in found if "size" in one]

    def __str__(self) -> str:
        return f"{self.size[0]}x{self.size[1]} at {self.fps:.0f} fps"


def choose(modes: Sequence[Mode], width: int, height: int, fps: int) -> Mode:
    """`MediaError` with the list if none will do."""
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
