"""Gradient fields of small pictures: where edges are and in which direction. The view guard compares them.

A field is (2, rows, columns) float32: the part across and the part down, a vector of length 1 at an edge and 0 elsewhere. The mean
of many fields keeps the edges that last.
"""

from __future__ import annotations

import zlib
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from privacy.errors import RecordError
from privacy.masking.frames import Plane
from privacy.masking.regions import Region

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

TILE: Final = 8
"""Side of a tile, pixels."""
EDGE = 10.0
"""Least strength of an edge: levels a pixel, at a luma of 100."""
_LASTING = 0.5  # length of the mean direction; 1: an edge that was always there in the same direction


def gradients(luma: Plane) -> tuple[Floats, Floats]:
    """The field of a picture (rows, columns) uint8; and the strength of its gradients (rows, columns), scaled to a luma of 100."""
    picture = cv2.GaussianBlur(luma, (3, 3), 0).astype(np.float32)
    x, y = cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=0.125)
    local = cv2.blur(picture, (15, 15)) + 8.0
    size = cv2.magnitude(x, y)
    strength = np.asarray(size / local * 100.0, np.float32)
    unit = (strength > EDGE) / np.maximum(size, np.float32(1e-6))
    return np.stack((x * unit, y * unit)), strength


def length(field: Floats) -> Floats:
    """The length of each vector, (rows, columns)."""
    return np.asarray(cv2.magnitude(field[0], field[1]), np.float32)


def lasting_edges(field: Floats) -> Bools:
    """Pixels (rows, columns) of a mean field (2, rows, columns) in which an edge nearly always had the same direction."""
    return length(field) > _LASTING


def turned(field: Floats, degrees: float) -> Floats:
    """A field rotated by degrees about the middle of the picture, counter-clockwise: positions and directions."""
    height, width = field.shape[1:]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    x, y = (cv2.warpAffine(part, matrix, (width, height)) for part in field)
    cos, sin = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
    return np.stack((cos * x + sin * y, cos * y - sin * x))


def tile_means(values: Floats) -> Floats:
    """Means of (rows, columns) over tiles of 8x8 pixels; a rest at the right and at the bottom is not used."""
    rows, columns = (side // TILE for side in values.shape)
    cut = values[: rows * TILE, : columns * TILE]
    return np.asarray(cv2.resize(cut, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)


def tile_counts(which: Bools) -> Floats:
    """The number of set pixels in each tile."""
    return tile_means(which.astype(np.float32)) * (TILE * TILE)


def masked_pixels(hidden: tuple[Region, ...], size: tuple[int, int], shape: tuple[int, ...]) -> Bools:
    """Pixels of the small picture that are masked, with a margin of two pixels.

    hidden   the masked regions, in pixels of a frame of `size` (width, height)
    shape    of the small picture, (rows, columns)
    """
    covered = np.zeros(shape, bool)
    across, down = shape[1] / size[0], shape[0] / size[1]
    for region in hidden:
        top, bottom = max(0, int(region.top * down) - 2), int(np.ceil(region.bottom * down)) + 2
        covered[top:bottom, max(0, int(region.left * across) - 2) : int(np.ceil(region.right * across)) + 2] = True
    return covered


def pack(field: Floats, edges: float) -> bytes:
    """The lasting edges of a mean field with their direction, in eighths of a circle, and the amount of edges. It contains no
    brightness, so it is not a picture.

    Two bytes for columns and rows, two for the share of edges (of 65535), then zlib of one byte per pixel: 0 or direction + 1.

    field   (2, rows, columns), at most 255 rows and columns
    edges   share of the pixels that are edges, 0 to 1
    """
    angle = np.round(np.arctan2(field[1], field[0]) / (np.pi / 4)).astype(np.int8) % 8 + 1
    kept = np.where(lasting_edges(field), angle, 0).astype(np.uint8)
    return bytes(kept.shape[::-1]) + round(edges * 65535).to_bytes(2, "big") + zlib.compress(kept.tobytes())


def unpack(reference: bytes) -> tuple[Floats, float]:
    """The field and the amount of edges that `pack` wrote; `RecordError` if it is damaged."""
    try:
        columns, rows = reference[:2]
        packed = zlib.decompressobj()
        # Limited to one byte more than is valid: a few kilobytes of zlib may expand to gigabytes.
        kept = np.frombuffer(packed.decompress(reference[4:], rows * columns + 1), np.uint8).reshape(rows, columns)
        if not packed.eof:
            raise ValueError("incomplete")
    except (zlib.error, ValueError) as problem:
        raise RecordError(f"view reference: damaged: {problem}", "confirm the view again: lykta view confirm") from problem
    angle = (kept.astype(np.float32) - 1) * np.float32(np.pi / 4)
    field = np.stack((np.cos(angle), np.sin(angle))) * (kept > 0)
    return field.astype(np.float32), int.from_bytes(reference[2:4], "big") / 65535
