"""The light of a picture: regions that are too dark to detect people in, and jumps of the exposure.

Measured on simulated night: what a detector misses are silhouettes in the dark (docs/MASKING.md). So at night a lower score
counts as a person (`networks.decoders`), and nearly black regions are always masked. All levels are luma in limited range
(16 is black).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from privacy.masking.frames import Frame, Plane
from privacy.masking.regions import Region
from privacy.masking.tiles import rectangles

# Mean luma of the picture below which it is night; in a night picture, mean luma of a tile below which it is filled.
NIGHT = 72.0
BLACK = 34
# Below this mean people of any size go undetected: the whole frame is masked (measured at a mean of 0.2 to 0.3 of 255).
FLOOR = 6.0
_COLUMNS = 48
_STEP = 16
# The exposure jumped if this share of the picture became brighter, or darker, by this factor from one frame to the next.
_SHARE = 0.75
_FACTOR = 1.2


def small_luma(frame: Frame, long_side: int) -> Plane:
    """The luma plane (rows, columns) scaled down to that long side, for checks of light and edges."""
    rows, columns = small_size(frame.width, frame.height, long_side)
    luma = halved(frame.planes[0], long_side / max(frame.width, frame.height))
    return np.asarray(cv2.resize(luma, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def small_size(width: int, height: int, long_side: int) -> tuple[int, int]:
    """(rows, columns) of the small picture of a frame of that width and height, pixels."""
    scale = long_side / max(width, height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def halved(plane: Plane, scale: float) -> Plane:
    """Halve a plane repeatedly while it stays at least as large as `scale` needs and its size is even.

    Halving costs a tenth of scaling by any other factor.
    """
    while scale <= 0.5 and not (plane.shape[0] % 2 or plane.shape[1] % 2):
        plane = np.asarray(cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA), np.uint8)
        scale *= 2
    return plane


def focus(frame: Frame) -> float:
    """How sharp a picture is: the variance of the Laplacian of its luma at half size, levels² (Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", 2000). It depends on the scene: only a fall of one camera's means something."""
    half = halved(frame.planes[0], 0.5)
    return round(float(cv2.Laplacian(half, cv2.CV_32F).var()), 1)


def dark_regions(frame: Frame) -> tuple[Region, ...]:
    """At night: the tiles that are too dark to detect people in. By day: none."""
    if level(frame) >= NIGHT:
        return ()
    tiles = small_luma(frame, _COLUMNS)
    rows, columns = tiles.shape
    return rectangles("dark", tiles < BLACK, (frame.width / columns, frame.height / rows), frame.width, frame.height)


def dark_share(regions: tuple[Region, ...], width: int, height: int) -> float:
    """Share, 0..1, of a picture of that size that dark regions cover. regions: of `dark_regions`, which do not overlap."""
    return min(1.0, sum((one.right - one.left) * (one.bottom - one.top) for one in regions) / (width * height))


def level(frame: Frame) -> float:
    """Mean luma, 0..255, of every sixteenth row and column."""
    return float(frame.planes[0][::_STEP, ::_STEP].mean())


@dataclass
class JumpWatch:
    """Detects jumps of the whole picture's exposure between two frames."""

    _before: npt.NDArray[np.float32] | None = None

    def jumped(self, frame: Frame) -> bool:
        """Whether this frame's exposure or size differs from the frame before; False for the first frame."""
        now = frame.planes[0][_STEP // 2 :: _STEP, _STEP // 2 :: _STEP].astype(np.float32) + 1.0
        before, self._before = self._before, now
        if before is None or not now.size:
            return False
        if before.shape != now.shape:
            return True
        brighter = float((now > before * _FACTOR).mean())
        darker = float((now * _FACTOR < before).mean())
        return max(brighter, darker) >= _SHARE
