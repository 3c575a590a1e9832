"""Writes one masked picture as JPEG, PNG, BMP, TIFF or WebP, through PyAV. Accepts only `MaskedFrame`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange

from privacy.errors import MediaError
from privacy.masking.frames import MaskedFrame, require_masked

_JPEG, _TIFF = ("mjpeg", "yuvj420p"), ("tiff", "rgb24")
PICTURES: Final = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": ("png", "rgb24"),
    ".bmp": ("bmp", "bgr24"),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": ("libwebp", "yuv420p"),
}
"""FFmpeg's encoder and pixel format by file name extension."""


class PictureWriter:
    """Writes one picture; a second one raises `MediaError`, because the file holds one only.

    path    an existing file
    ending  its extension, one of `PICTURES`
    """

    def __init__(self, path: Path, ending: str) -> None:
        self._path, self._ending, self._full = path, ending, False

    def write(self, picture: MaskedFrame) -> None:
        if self._full:
            raise MediaError(f"a {self._ending} file holds one picture and there are more", "give an OUT that ends in .mp4")
        self._full = True
        self._path.write_bytes(_coded(require_masked(picture), *PICTURES[self._ending]))


def _coded(picture: MaskedFrame, codec: str, pixels: str) -> bytes:
    native = av.VideoFrame.from_numpy_buffer(picture.buffer[:], "yuv420p", picture.width)
    wide = ColorRange.JPEG if pixels == "yuvj420p" else ColorRange.MPEG
    try:
        native = native.reformat(format=pixels, src_color_range=ColorRange.MPEG, dst_color_range=wide)
        context = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
        context.width, context.height, context.pix_fmt = picture.width, picture.height, pixels
        context.time_base = Fraction(1, 25)
        context.options = {"qmin": "2", "qmax": "2"} if codec == "mjpeg" else {}
        return b"".join(bytes(packet) for packet in [*context.encode(native), *context.encode(None)])
    except (FFmpegError, ValueError) as problem:
        raise MediaError(
            f"{codec} refuses {picture.width}x{picture.height}: {problem}", "give an OUT that ends in .mp4"
        ) from problem
