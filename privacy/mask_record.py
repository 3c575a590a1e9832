"""What was painted over each frame of a clip, and why: sealed beside the video, read by the centre.

A clip's masks are JSON lines: one `MaskHeader`, then one `MaskRecord` a frame. From both the whole mask of a frame can be
drawn again, in the tones that the pixels must have (`tone_map`).
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import cv2
import numpy as np
from msgspec import Struct

from privacy.basis import Area, Profile, Share
from privacy.frames import Plane

# What a painted rectangle stands for. The detector found person, face and vehicle; the background gate found something
# new (motion) or a place that was not yet seen without people (unseen); in what is dark nobody could be found.
Part = Literal["vehicle", "dark", "unseen", "motion", "person", "face"]
Gate = Literal["detector", "background", "light"]
GATES: Final[dict[Part, Gate]] = {
    "vehicle": "detector", "person": "detector", "face": "detector",
    "dark": "light", "unseen": "background", "motion": "background",
}  # fmt: skip

Tone = tuple[int, int, int]
# Y, Cb, Cr: lamp yellow for people, slate for vehicles, night for everything else.
PERSON: Final[Tone] = (168, 62, 158)
VEHICLE: Final[Tone] = (96, 136, 124)
NOTHING: Final[Tone] = (28, 136, 126)
# In a tone map: 0 is shown, 1 to 3 are these.
TONES: Final[tuple[Tone, ...]] = (NOTHING, VEHICLE, PERSON)
TONE_OF: Final[dict[Part, int]] = {"dark": 1, "unseen": 1, "motion": 1, "vehicle": 2, "person": 3, "face": 3}
# The order of painting: what comes later lies above, so that a person before a bus stays a shape of their own.
ORDER: Final[dict[Part, int]] = {"dark": 0, "unseen": 1, "motion": 2, "vehicle": 3, "person": 4, "face": 5}
assert set(ORDER) == set(TONE_OF) == set(GATES) == set(get_args(Part))

Corners = tuple[Part, int, int, int, int]
Polygon = tuple[tuple[Share, Share], ...]
SCHEMA: Final = "lykta.masks/1"


class MaskHeader(Struct, frozen=True):
    """What is the same for all frames of a clip: size in pixels, profile, and the view's polygons and static zones (0..1).

    areas is None where no view restricts the picture (`lykta mask`).
    """

    schema: Literal["lykta.masks/1"]
    width: int
    height: int
    profile: Profile
    areas: tuple[Area, ...] | None
    zones: tuple[Polygon, ...]


class MaskRecord(Struct, frozen=True):
    """What was painted over one frame, and why: one a frame.

    boxes: part, left, top, right, bottom in pixels, in the order of painting; `cause` is empty unless the whole frame was
    painted.
    """

    frame: int
    mono_ms: int
    cause: str
    boxes: tuple[Corners, ...]


def outside_of(width: int, height: int, areas: tuple[Area, ...] | None, zones: tuple[Polygon, ...]) -> Plane:
    """(height, width): 255 where the view shows nothing: outside every polygon, or inside a static zone."""
    outside = np.full((height, width), 0 if areas is None else 255, np.uint8)
    for area in areas or ():
        cv2.fillPoly(outside, [_pixels(area.polygon, width, height)], (0,))
    for zone in zones:
        cv2.fillPoly(outside, [_pixels(zone, width, height)], (255,))
    return outside


def tone_map(outside: Plane, record: MaskRecord) -> Plane:
    """(height, width): 0 where the frame is shown, else 1 + the index in `TONES` of what it was painted with."""
    if record.cause:
        return np.ones(outside.shape, np.uint8)
    tones: Plane = np.bitwise_and(outside, np.uint8(1))
    for part, left, top, right, bottom in record.boxes:
        tones[top:bottom, left:right] = TONE_OF[part]
    return tones


def _pixels(polygon: Polygon, width: int, height: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    return np.rint(np.array(polygon) * (width - 1, height - 1)).astype(np.int32)
