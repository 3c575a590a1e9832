"""Decoding a clip's video for checking: the only file of the centre that knows PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import av
import numpy as np
from av.error import FFmpegError

from privacy.errors import SealError
from privacy.frames import Plane

Planes = tuple[Plane, Plane, Plane]


def pictures(video: IO[bytes], *, torn: bool = False) -> Iterator[Planes]:
    """Luma (h, w) and both chroma planes (h/2, w/2) of each picture, in order; views that hold until the next one.

    Raises `SealError` where the stream cannot be decoded or is not one video track of yuv420p. A torn one ends where its last
    picture is cut.
    """
    seen = 0
    try:
        with av.open(video, "r") as container:
            if [stream.type for stream in container.streams] != ["video"]:
                raise SealError("video: must hold one video track and nothing else", "the clip must not be used")
            for picture in container.decode(video=0):
                if picture.format.name not in ("yuv420p", "yuvj420p"):
                    raise SealError(f"video: is {picture.format.name}, not yuv420p", "the clip must not be used")
                seen += 1
                yield tuple(_plane(plane) for plane in picture.planes)  # type: ignore[misc]
    except FFmpegError as problem:
        if torn and seen:
            return
        raise SealError(f"video: cannot be decoded: {problem}", "the clip must not be used") from problem


def _plane(plane: av.video.plane.VideoPlane) -> Plane:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
