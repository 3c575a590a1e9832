"""The reference picture: the stop without people, as a median of masked frames (R06, R24).

It is the only picture that is available of a view before it is confirmed. It is made of `MaskedFrame`s only, small, and kept in
memory, so that a stolen storage card contains none.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from privacy.errors import MediaError
from privacy.masking.frames import MaskedFrame, Plane
from privacy.masking.mask_record import NOTHING
from privacy.masking.preview import Planes, jpeg, shrunk

LONG_SIDE = 320
SAMPLES = 15
EVERY_NS = 10_000_000_000
_ENOUGH = 3  # a pixel is shown if one in so many samples shows it: a person whom one look missed is then not in the picture
_Sample = tuple[Planes, npt.NDArray[np.bool_]]


class Reference:
    """The last samples of one view: two and a half minutes, about 1 MB."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._last_ns: int | None = None

    def due(self, mono_ns: int) -> bool:
        """Whether a frame of that time should be sampled."""
        return self._last_ns is None or mono_ns - self._last_ns >= EVERY_NS

    def add(self, picture: MaskedFrame, raster: Plane) -> None:
        """Sample a masked frame, unless it is fully masked. raster: (height, width), 255 where it is painted."""
        if picture.full:
            return
        self._last_ns = picture.mono_ns
        small = shrunk(picture, LONG_SIDE)
        height, width = small[0].shape
        painted = cv2.resize(raster, (width, height), interpolation=cv2.INTER_AREA) > 0
        self._samples.append((small, painted))

    def clear(self) -> None:
        """Delete all samples, because the view has changed."""
        self._samples.clear()
        self._last_ns = None

    def jpeg(self) -> bytes:
        """The picture; pixels that were painted in most samples get the tone `NOTHING`. `MediaError` if there is no sample yet."""
        if not self._samples:
            raise MediaError("view: no reference picture yet", "it takes ten seconds of pictures that are not fully masked")
        painted = np.stack([where for _, where in self._samples])
        halved = _halved(painted)
        return jpeg((self._median(0, painted), self._median(1, halved), self._median(2, halved)))

    def _median(self, index: int, painted: npt.NDArray[np.bool_]) -> Plane:
        values = np.stack([planes[index] for planes, _ in self._samples])
        median = np.ma.median(np.ma.masked_array(values, painted), axis=0)  # type: ignore[no-untyped-call]
        shown = (~painted).sum(axis=0) >= max(1, len(painted) // _ENOUGH)
        return np.where(shown, np.ma.filled(median, NOTHING[index]), NOTHING[index]).astype(np.uint8)


def _halved(painted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The same for chroma (samples, rows / 2, columns / 2): a point is painted if one of its four pixels is."""
    return np.asarray(painted[:, ::2, ::2] | painted[:, 1::2, ::2] | painted[:, ::2, 1::2] | painted[:, 1::2, 1::2])
