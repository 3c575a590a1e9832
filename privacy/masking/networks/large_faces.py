"""Doubt about large faces: a face of a twentieth of the picture or more is believed if it is there at half the size too, or if
a person is found at its place.

Grown for the mask, such a face is painted over a quarter of the picture and more. YuNet takes walls, headlights and places beside
parked motorbikes for large faces; at half the size it mostly does not. It finds a real face of that size at half the size as
well, and networks for people find whose it is. Figures: docs/decisions/0051-between-looks.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from privacy.masking.frames import Plane

Boxes = npt.NDArray[np.float32]
"""(n, 4): left, top, right, bottom in pixels of the network's picture."""
Bits = npt.NDArray[np.bool_]
LARGE: Final = 0.05
"""Share of the picture."""
LEAST_SCORE: Final = 0.1
"""Of a face at half the size: a third of what a face needs at first. Of 1,337 real large faces 14 had less, and a person around."""
LEAST_OVERLAP: Final = 0.3
"""Intersection over union of the face with what is found at half the size."""
_AS_LARGE = 0.8


def believed(image: Plane, faces: Boxes, people: Boxes, again: Callable[[Plane, Boxes], Bits]) -> Bits:
    """(n,): which faces count.

    image   the network's picture (h, w, 3)
    people  (m, 4): who was found in it
    again   which faces are found in it at half the size, at `LEAST_SCORE`; asked only if one is in doubt
    """
    keep = ~large(faces, image) | with_person(faces, people)
    return keep if keep.all() else keep | again(image, faces)


def large(faces: Boxes, image: Plane) -> Bits:
    """(n,): which faces are that large in the picture (h, w, 3)."""
    sides = faces[:, 2:] - faces[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1] >= LARGE * image.shape[0] * image.shape[1])


def with_person(faces: Boxes, people: Boxes) -> Bits:
    """(n,): which faces have their middle inside a person who is about as wide and high as the face, or larger."""
    middle = ((faces[:, :2] + faces[:, 2:]) / 2)[:, None]
    inside = (people[:, :2] <= middle) & (middle <= people[:, 2:])
    as_large = people[:, 2:] - people[:, :2] >= _AS_LARGE * (faces[:, 2:] - faces[:, :2])[:, None]
    return np.asarray(np.all(inside & as_large, axis=2).any(axis=1))
