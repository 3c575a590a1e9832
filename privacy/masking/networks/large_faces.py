"""Filter for large faces: a face of a twentieth of the picture or more is accepted only if it is also detected at half size, or
if a person is detected at the same position.

With its margin such a face masks a quarter of the picture or more. YuNet reports walls, headlights and areas beside parked
motorbikes as large faces, but mostly not at half size. A real face of that size is also detected at half size, or the networks for
people detect the person. Figures: docs/decisions/0051-between-looks.md.
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
"""A face is large from this share of the picture on."""
LEAST_SCORE: Final = 0.1
"""Score that a face needs at half size: a third of the normal threshold. Of 1,337 real large faces 14 had less; at these a person
was detected."""
LEAST_OVERLAP: Final = 0.3
"""Intersection over union of the face with the one at half size."""
_AS_LARGE = 0.8


def believed(image: Plane, faces: Boxes, people: Boxes, again: Callable[[Plane, Boxes], Bits]) -> Bits:
    """(n,): which faces are accepted.

    image    the network's picture (h, w, 3)
    people   (m, 4): persons detected in it
    again    returns which faces are detected at half size with `LEAST_SCORE`; called only if a face is in doubt
    """
    keep = ~large(faces, image) | with_person(faces, people)
    return keep if keep.all() else keep | again(image, faces)


def large(faces: Boxes, image: Plane) -> Bits:
    """(n,): which faces are large in the picture (h, w, 3)."""
    sides = faces[:, 2:] - faces[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1] >= LARGE * image.shape[0] * image.shape[1])


def with_person(faces: Boxes, people: Boxes) -> Bits:
    """(n,): which faces have their middle inside the box of a person that is about as wide and high as the face, or larger."""
    middle = ((faces[:, :2] + faces[:, 2:]) / 2)[:, None]
    inside = (people[:, :2] <= middle) & (middle <= people[:, 2:])
    as_large = people[:, 2:] - people[:, :2] >= _AS_LARGE * (faces[:, 2:] - faces[:, :2])[:, None]
    return np.asarray(np.all(inside & as_large, axis=2).any(axis=1))
