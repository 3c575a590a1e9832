"""What happens to a camera's view: changes of a picture, and what the view guard takes each of them for."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np

from privacy.masking.view_guard import ViewGuard
from tests.support.home import HEIGHT, WIDTH

Picture = np.ndarray
Change = Callable[[Picture], Picture]


def shifted(across: int, down: int, turn: float = 0.0) -> Change:
    def change(picture: Picture) -> Picture:
        matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), turn, 1.0)
        matrix[:, 2] += (across, down)
        return cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)

    return change


def same(picture: Picture) -> Picture:
    return picture


BAD: dict[str, tuple[str, Change]] = {
    "a hand before the lens": ("covered", lambda picture: np.full_like(picture, 60)),
    "paint": ("covered", lambda picture: cv2.GaussianBlur(np.full_like(picture, 200), (9, 9), 3)),
    "out of focus": ("defocused", lambda picture: cv2.GaussianBlur(picture, (0, 0), 9)),
    "a lamp into the lens": ("blinded", lambda picture: np.full_like(picture, 250)),
    "turned to the right": ("moved", shifted(60, 0)),
    "turned a little": ("moved", shifted(24, 10)),
    "tilted": ("moved", shifted(0, 0, 20)),
    "another place": ("moved", lambda picture: picture[::-1, ::-1].copy()),
}


def kept_edges(guard: ViewGuard) -> Picture:
    """The stored map of edges (rows, columns), read by the format's own words."""
    kept = guard.to_bytes()
    columns, rows = kept[:2]
    return np.frombuffer(zlib.decompress(kept[4:]), np.uint8).reshape(rows, columns)
