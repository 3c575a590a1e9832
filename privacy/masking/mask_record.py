"""The record of the masks painted on each frame of a clip, and of their causes. Sealed beside the video and checked by the centre.

A clip's masks are JSON lines: one `MaskHeader`, then one `MaskRecord` per frame. Together they give the complete mask of a frame
with the tones that its pixels must have (`tone_map`).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import cv2
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from privacy.masking.frames import Plane
from privacy.records.basis import Area, Polygon, Profile
from privacy.records.far_zone import FarLine

# Why a rectangle is painted. person, face, vehicle: detected. motion: foreground of the background gate; unseen: tiles that this
# gate has not yet seen without people. dark: too dark to detect people. change: differs from the looks around the frame.
Part = Literal["vehicle", "dark", "unseen", "motion", "change", "person", "face"]
Gate = Literal["detector", "background", "light", "looks"]
GATES: Final[dict[Part, Gate]] = {
    "vehicle": "detector", "person": "detector", "face": "detector",
    "dark": "light", "unseen": "background", "motion": "background", "change": "looks",
}  # fmt: skip

Tone = tuple[int, int, int]
# Y, Cb, Cr: yellow for people, slate grey for vehicles, nearly black for everything else.
PERSON: Final[Tone] = (168, 62, 158)
VEHICLE: Final[Tone] = (96, 136, 124)
NOTHING: Final[Tone] = (28, 136, 126)
# Values of a tone map: 0 is not painted, 1 to 3 are these tones.
TONES: Final[tuple[Tone, ...]] = (NOTHING, VEHICLE, PERSON)
TONE_OF: Final[dict[Part, int]] = {"dark": 1, "unseen": 1, "motion": 1, "change": 1, "vehicle": 2, "person": 3, "face": 3}
# The order of painting: later parts cover earlier ones, so that a person in front of a bus stays visible as a separate shape.
ORDER: Final[dict[Part, int]] = {"dark": 0, "unseen": 1, "motion": 2, "change": 3, "vehicle": 4, "person": 5, "face": 6}
assert set(ORDER) == set(TONE_OF) == set(GATES) == set(get_args(Part))

Corners = tuple[Part, int, int, int, int]
MOST_BOXES = 16_384
"""Rectangles per frame, at most: half the 8x8 tiles of a picture of 1920x1080, if no two of them can be joined."""
Pixels = Annotated[int, Meta(ge=2, le=4096)]
SCHEMA: Final = "lykta.masks/1"


class MaskHeader(Struct, frozen=True):
    """What is the same for all frames of a clip.

    width, height   pixels
    areas           the view's polygons (0..1); None if no view restricts the picture (`lykta mask`)
    zones           static zones (0..1)
    far             far line (0..1)
    """

    schema: Literal["lykta.masks/1"]
    width: Pixels
    height: Pixels
    profile: Profile
    areas: Annotated[tuple[Area, ...], Meta(max_length=100)] | None
    zones: Annotated[tuple[Polygon, ...], Meta(max_length=100)]
    far: FarLine | UnsetType = UNSET


class MaskRecord(Struct, frozen=True):
    """The masks of one frame.

    frame     its number
    mono_ms   monotonic time of exposure
    cause     why the whole frame was painted; "" if it was not
    boxes     part, left, top, right, bottom in pixels, in the order of painting
    """

    frame: Annotated[int, Meta(ge=0)]
    mono_ms: Annotated[int, Meta(ge=0)]
    cause: Annotated[str, Meta(max_length=200)]
    boxes: Annotated[tuple[Corners, ...], Meta(max_length=MOST_BOXES)]


def outside_of(header: MaskHeader) -> Plane:
    """The constant mask (height, width): 255 outside all polygons, in static zones and above the far line."""
    width, height = header.width, header.height
    outside = np.full((height, width), 0 if header.areas is None else 255, np.uint8)
    for area in header.areas or ():
        cv2.fillPoly(outside, [_pixels(area.polygon, width, height)], (0,))
    for zone in header.zones:
        cv2.fillPoly(outside, [_pixels(zone, width, height)], (255,))
    if header.far is not UNSET:
        outside[_above(header.far, width, height)] = 255
    return outside


def tone_map(outside: Plane, record: MaskRecord) -> Plane:
    """(height, width): 0 where the frame is not painted, else 1 + the index of the tone in `TONES`."""
    if record.cause:
        return np.ones(outside.shape, np.uint8)
    tones: Plane = np.bitwise_and(outside, np.uint8(1))
    for part, left, top, right, bottom in record.boxes:
        tones[top:bottom, left:right] = TONE_OF[part]
    return tones


def _above(far: FarLine, width: int, height: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """(height, width): pixels that lie above the line, wholly or in part."""
    line = far.left + (far.right - far.left) * (np.arange(width + 1) / width)
    return np.asarray(np.arange(height)[:, None] < np.maximum(line[:-1], line[1:]) * height)


def _pixels(polygon: Polygon, width: int, height: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    return np.rint(np.array(polygon) * (width - 1, height - 1)).astype(np.int32)
