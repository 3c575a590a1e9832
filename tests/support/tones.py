"""Pictures of one tone, with or without noise."""

from __future__ import annotations

import numpy as np

from privacy.masking.frames import Frame

WIDTH, HEIGHT = 320, 180


def picture(level: int, noise: np.random.Generator | None = None, spread: int = 4) -> Frame:
    """A grey frame; noise: adds 0 to `spread` levels to each pixel."""
    buffer = np.full((HEIGHT * 3 // 2, WIDTH), level, np.uint8)
    if noise is not None:
        buffer[:HEIGHT] += noise.integers(0, spread, (HEIGHT, WIDTH), np.uint8)
    return Frame(buffer, WIDTH, HEIGHT, 0, 1, 1)
