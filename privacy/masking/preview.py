"""Small JPEG pictures of masked frames, for display. In the services only this module makes a JPEG of a `MaskedFrame` (R24)."""

from __future__ import annotations

import cv2
import numpy as np

from privacy.masking.frames import MaskedFrame, Plane, planes_of, require_masked

_QUALITY = 85
Planes = tuple[Plane, Plane, Plane]


def shrunk(picture: MaskedFrame, long_side: int) -> Planes:
    """Luma (h, w) and chroma (h/2, w/2) of the picture, scaled to a long side of `long_side` pixels; both sides even."""
    scale = long_side / max(picture.width, picture.height)
    width, height = (max(2, round(side * scale / 2) * 2) for side in (picture.width, picture.height))
    planes = planes_of(require_masked(picture).buffer, picture.width, picture.height)
    luma, u, v = (
        cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        for plane, size in zip(planes, ((width, height), *[(width // 2, height // 2)] * 2), strict=True)
    )
    return luma.astype(np.uint8, copy=False), u.astype(np.uint8, copy=False), v.astype(np.uint8, copy=False)


def jpeg(planes: Planes) -> bytes:
    """JPEG of the planes that `shrunk` returns."""
    height, width = planes[0].shape
    packed = np.concatenate([plane.reshape(-1) for plane in planes])
    picture = cv2.cvtColor(packed.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])
