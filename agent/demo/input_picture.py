"""The picture of the public input file that belongs to a masked still: for the demo's page only.

It is cut from the file, never taken from the pipeline, which lets no unmasked picture out (R24). So the moment is searched for: the
picture of the file whose moving parts match best with the painted areas of the clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drivers.media.video import VideoFile, still
from privacy.masking.mask_record import PERSON

Small = npt.NDArray[np.int16]
_STEP = 4
"""Every fourth pixel in each direction is used."""
_MOVED, _NEAR = 25, 12
"""Luma levels from the background that count as moving, and levels from the tone of people that count as painted."""


def before(video: Path, clip: Path, share: float) -> bytes:
    """JPEG of the input at about the moment of the clip's picture at `share` (0..1) of its length."""
    painted = _painted(clip, share)
    lumas = np.stack([luma for luma, _ in _small(video)])
    moved = np.abs(lumas - np.median(lumas[:: max(1, len(lumas) // 40)], axis=0)) > _MOVED
    if moved.shape[1:] != painted.shape:
        return still(video, 0.5)
    common = (moved & painted).sum(axis=(1, 2)) / np.maximum(1, (moved | painted).sum(axis=(1, 2)))
    return still(video, max(0.0, float(np.argmax(common)) - 0.5) / len(lumas))


def _painted(clip: Path, share: float) -> npt.NDArray[np.bool_]:
    """Where the clip's picture has the tone of people."""
    pictures = list(_small(clip))
    luma, blue = pictures[min(len(pictures) - 1, int(share * len(pictures)))]
    painted: npt.NDArray[np.bool_] = (np.abs(luma - PERSON[0]) < _NEAR) & (np.abs(blue - PERSON[1]) < _NEAR)
    return painted


def _small(path: Path) -> Iterator[tuple[Small, Small]]:
    """Luma and blue-difference planes of each picture, reduced in size."""
    video = VideoFile(path)
    video.open()
    try:
        while (frame := video.capture()) is not None:
            luma, blue, _ = frame.planes
            rows, columns = luma.shape[0] // _STEP, luma.shape[1] // _STEP
            half = _STEP // 2
            yield (
                luma[::_STEP, ::_STEP][:rows, :columns].astype(np.int16),
                blue[::half, ::half][:rows, :columns].astype(np.int16),
            )
    finally:
        video.close()
