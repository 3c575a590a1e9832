"""Pictures: `Frame` is raw and never leaves the frame path; only a `MaskedFrame` may be given to an encoder.

A picture is one I420 buffer of shape (height * 3 // 2, stride), uint8, as cameras deliver it: `height` rows of luma, then
the two chroma planes at half size and half stride, packed. Masks are painted into it in place; the full picture is never copied
or converted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privacy.errors import MediaError

Plane = npt.NDArray[np.uint8]


def _nothing() -> None:
    """Release of a frame whose buffer needs no release."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One raw picture.

    buffer   (height * 3 // 2, stride) uint8, writable, C-contiguous
    width    pixels, even, at most the stride
    height   pixels, even
    index    counts from 0 since the source was opened
    mono_ns  monotonic time of exposure, nanoseconds
    wall_ns  UTC time of exposure, nanoseconds since 1970
    release  gives the buffer back to the camera; call once, after encoding
    """

    buffer: Plane
    width: int
    height: int
    index: int
    mono_ns: int
    wall_ns: int
    release: Callable[[], None] = field(default=_nothing, repr=False)

    def __post_init__(self) -> None:
        rows, stride = self.buffer.shape
        if self.width % 2 or self.height % 2 or self.width > stride or stride % 2 or rows != self.height * 3 // 2:
            raise MediaError(
                f"a picture of {self.width}x{self.height} does not fit a buffer of {rows} rows and stride {stride}",
                "I420 needs an even width and height and height * 3 / 2 rows",
            )

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Views of luma (h, w) and the two chroma planes (h/2, w/2); writing to them writes the frame."""
        return planes_of(self.buffer, self.width, self.height)


def planes_of(buffer: Plane, width: int, height: int) -> tuple[Plane, Plane, Plane]:
    """Views of the three planes inside one I420 buffer, whatever its stride."""
    stride = buffer.shape[1]
    chroma = buffer[height:].reshape(-1)
    size = height // 2 * (stride // 2)
    u = chroma[:size].reshape(height // 2, stride // 2)
    v = chroma[size : 2 * size].reshape(height // 2, stride // 2)
    return buffer[:height, :width], u[:, : width // 2], v[:, : width // 2]


_FROM_MASKER: Final = object()


class MaskedFrame:
    """A picture in which everything that must not be visible is painted over. Only `privacy.masking.masker.Masker` creates one.

    full     the whole picture is painted
    record   the `MaskRecord` of the frame
    """

    __slots__ = ("_frame", "full", "record")

    def __init__(self, frame: Frame, record: Any, full: bool, *, made_by: object = None) -> None:
        if made_by is not _FROM_MASKER:
            raise TypeError("MaskedFrame has no public constructor: only Masker creates one")
        self._frame = frame
        self.record = record
        self.full = full

    @property
    def buffer(self) -> Plane:
        return self._frame.buffer

    @property
    def width(self) -> int:
        return self._frame.width

    @property
    def height(self) -> int:
        return self._frame.height

    @property
    def index(self) -> int:
        return self._frame.index

    @property
    def mono_ns(self) -> int:
        return self._frame.mono_ns

    @property
    def wall_ns(self) -> int:
        return self._frame.wall_ns

    def release(self) -> None:
        """Give the buffer back to the camera; the picture must not be read afterwards."""
        self._frame.release()


def require_masked(picture: MaskedFrame) -> MaskedFrame:
    """The picture; `TypeError` if it is not a `MaskedFrame`. This is the run-time check in addition to mypy's."""
    if type(picture) is not MaskedFrame:
        raise TypeError(f"only a MaskedFrame may be encoded, not {type(picture).__name__}")
    return picture
