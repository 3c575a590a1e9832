"""Decodes a clip's video for checking. The only file of the centre that imports PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import av
import numpy as np
from av.error import FFmpegError

from privacy.errors import SealError
from privacy.masking.frames import Plane

Planes = tuple[Plane, Plane, Plane]
_UNUSABLE = "the clip must not be used"
_BLOCKS = 128 * 4096
"""Pixels by which a coded picture may be larger than the displayed one: the coder rounds up to whole blocks."""


def pictures(video: IO[bytes], pixels: int, *, torn: bool = False) -> Iterator[Planes]:
    """Luma (h, w) and both chroma planes (h/2, w/2) of each picture, uint8, in order; valid until the next picture is taken.

    Every coded picture is decoded, also those that an edit list tells players to skip. `SealError` if the stream cannot be
    decoded completely, or is not a single video track of yuv420p. A torn stream ends before its first cut picture.
    pixels: most pixels of a picture; a larger one is refused before memory is allocated for it.
    """
    seen = 0
    try:
        for picture in _decoded(_Unseekable(video), pixels, torn):
            seen += 1
            yield tuple(_plane(plane) for plane in picture.planes)  # type: ignore[misc]
    except FFmpegError as problem:
        if not torn or not seen:
            raise SealError(f"video: cannot be decoded after {seen} pictures: {problem.strerror}", _UNUSABLE) from problem


class _Unseekable:
    """A file that only reads forward. If it could seek, the demuxer would look for the end first and reject a torn file."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read = file.read


def _decoded(video: _Unseekable, pixels: int, torn: bool) -> Iterator[av.VideoFrame]:
    coded = decoded = 0
    with av.open(video, "r", format="mp4", options={"ignore_editlist": "1"}) as container:
        if [stream.type for stream in container.streams] != ["video"]:
            raise SealError("video: must hold one video track and nothing else", _UNUSABLE)
        codec = container.streams.video[0].codec_context
        if codec.width * codec.height > pixels:
            raise SealError(f"video: {codec.width}x{codec.height} is larger than the manifest says", _UNUSABLE)
        # Later headers in the stream may declare another size.
        codec.options = {"max_pixels": str(pixels + _BLOCKS)}
        for packet in container.demux(video=0):
            if packet.is_corrupt and torn:
                return
            coded += packet.size > 0
            for picture in packet.decode():
                decoded += 1
                yield _whole(picture, decoded)
    if decoded != coded:
        raise SealError(f"video: {coded} coded pictures, of which {decoded} can be decoded", _UNUSABLE)


def _whole(picture: av.VideoFrame, number: int) -> av.VideoFrame:
    if picture.is_corrupt:
        raise SealError(f"video: picture {number} is damaged", _UNUSABLE)
    if picture.format.name not in ("yuv420p", "yuvj420p"):
        raise SealError(f"video: is {picture.format.name}, not yuv420p", _UNUSABLE)
    return picture


def _plane(plane: av.video.plane.VideoPlane) -> Plane:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
