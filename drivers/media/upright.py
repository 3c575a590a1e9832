"""Copies a decoded picture of any format into an I420 buffer: upright, even size, 8 bit, limited (studio) range.

A decoded picture is a reference for later pictures, so it is copied once (0.2 ms at 720p) before masks are painted into it.
8-bit yuv420p in limited range needs only that copy, also if its size is odd.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, cast

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange

from privacy.errors import MediaError
from privacy.masking.frames import Plane, planes_of

BLACK: Final = (16, 128, 128)
_ANY_BASE: Final = Fraction(1, 1000)
_LEAST: Final = 16
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """How to turn the stored picture upright: first swap rows and columns, then mirror (left-right) and flip (top-bottom)."""

    swap: bool = False
    mirror: bool = False
    flip: bool = False

    @classmethod
    def of(cls, native: av.VideoFrame) -> Turn:
        """From the display matrix: nine fixed-point numbers (16.16 and 2.30 bits) a b u c d v x y w; x' = a x + c y,
        y' = b x + d y (ISO/IEC 14496-12, 8.2.2). `MediaError` if it is not a combination of quarter turns and mirroring."""
        found = cast(SideData | None, _without_profile(native).side_data.get("DISPLAYMATRIX"))
        if found is None:
            return UPRIGHT
        a, b, _, c, d, *_ = struct.unpack("=9i", found)
        straight, across = max(abs(a), abs(d)), max(abs(b), abs(c))
        if across * 100 < straight:
            return cls(False, a < 0, d < 0)
        if straight * 100 < across:
            return cls(True, c < 0, b < 0)
        if not straight and not across:
            return UPRIGHT
        raise MediaError("rotated by another angle than a quarter turn", "rotate it with another tool first")

    def size(self, width: int, height: int) -> Size:
        """Width and height of the upright picture, from those of the stored one."""
        return (height, width) if self.swap else (width, height)

    def over(self) -> Turn:
        """This turn followed by 180 degrees."""
        return Turn(self.swap, not self.mirror, not self.flip)

    def apply(self, rows: Plane) -> Plane:
        rows = rows.T if self.swap else rows
        return rows[:: -1 if self.flip else 1, :: -1 if self.mirror else 1]

    def __str__(self) -> str:
        degrees = {(False, True, True): 180, (True, True, False): 90, (True, False, True): 270}.get(
            (self.swap, self.mirror, self.flip)
        )
        return f"{degrees}° clockwise" if degrees else "mirrored"


def _without_profile(native: av.VideoFrame) -> av.VideoFrame:
    """The same picture without its colour profile: PyAV 18.1 frees the name of a profile that it lists twice, which may crash."""
    graph = Graph()
    source = graph.add_buffer(width=native.width, height=native.height, format=native.format, time_base=_ANY_BASE)
    filter_, sink = graph.add("sidedata", "mode=delete:type=ICC_PROFILE"), graph.add("buffersink")
    source.link_to(filter_)
    filter_.link_to(sink)
    graph.configure()
    graph.vpush(native)
    return graph.vpull()


UPRIGHT: Final = Turn()


def even(size: Size) -> Size:
    """The size of a frame that holds a picture of that size: even, as I420 and H.264 need, and at least one macroblock (16), below
    which scaling fails."""
    return max(_LEAST, size[0] + size[0] % 2), max(_LEAST, size[1] + size[1] % 2)


def fitting(size: Size, width: int, height: int) -> Size:
    """The largest even size inside a frame of width x height that keeps a picture's aspect ratio."""
    scale = min(width / size[0], height / size[1])
    return tuple(min(most, max(2, round(side * scale / 2) * 2)) for side, most in zip(size, (width, height), strict=True))  # type: ignore[return-value]


def lay(native: av.VideoFrame, turn: Turn, buffer: Plane, inner: Size | None = None) -> None:
    """Fill an I420 buffer (height * 3 // 2, width) with the picture, turned upright.

    inner   scale the upright picture to this even size and place it on black, top left; None: do not scale, and repeat the last
            row or column where the buffer is larger
    """
    if native.format.name != "yuv420p" or native.color_range == ColorRange.JPEG or inner:
        # Always limited range: the output file does not state its range, and players then assume limited range.
        wide, high = turn.size(*inner) if inner else (native.width, native.height)
        native = native.reformat(wide, high, "yuv420p", dst_color_range=ColorRange.MPEG)
    width, height = buffer.shape[1], buffer.shape[0] * 2 // 3
    if inner not in {None, (width, height)}:
        blacken(buffer)
    for plane, target in zip(native.planes, planes_of(buffer, width, height), strict=True):
        rows = turn.apply(_rows(plane))
        high, wide = rows.shape
        target[:high, :wide] = rows
        if not inner:
            target[:high, wide:] = target[:high, wide - 1 : wide]
            target[high:] = target[high - 1 : high]


def blacken(buffer: Plane) -> None:
    """Fill an I420 buffer with black."""
    for plane, value in zip(planes_of(buffer, buffer.shape[1], buffer.shape[0] * 2 // 3), BLACK, strict=True):
        plane[:] = value


def _rows(plane: VideoPlane) -> Plane:
    """The rows of a plane from top to bottom; a picture that is stored bottom up has a negative line size."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, abs(plane.line_size))[:, : plane.width]
    return rows if plane.line_size > 0 else rows[::-1]
