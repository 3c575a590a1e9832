"""Video files through PyAV: as a camera for demo, tests and `lykta mask`, and as an encoder and writer of H.264.

A decoded picture is a reference for the pictures after it, so it is copied once into a buffer of our own (0.2 ms at 720p)
before anything is painted into it; from there to the encoder nothing is copied.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.stream import VideoStream

from privacy.errors import MediaError
from privacy.frames import Frame, planes_of

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Facts:
    """What a container says of its video: pictures of even width and height, frames a second, frames (0 = unknown)."""

    width: int
    height: int
    fps: float
    frames: int
    audio: bool


class VideoFile:
    """A video file as a camera.

    fps     None: the file's own time stamps; a number: pictures are that far apart whatever the file says
    pace    True: as a camera would deliver them, in real time; False: as fast as they are asked for
    loop    start again at the end; time goes on
    size    (width, height) to scale to, or None
    """

    model = "video file"

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None = None,
        pace: bool = False,
        loop: bool = False,
        size: tuple[int, int] | None = None,
        threads: int = 1,
    ) -> None:
        self._path, self._fps, self._pace, self._loop, self._threads = path, fps, pace, loop, threads
        self.width, self.height = size or (0, 0)
        self._container: av.container.InputContainer | None = None
        self._pictures: Iterator[av.VideoFrame] = iter(())
        self._index = 0
        self._step_ns = 0
        self._stamp_ns = -1
        self._start_ns = 0

    def open(self) -> None:
        self._reopen()
        self.facts = self._facts()
        self.width, self.height = (self.width, self.height) if self.width else (self.facts.width, self.facts.height)
        self._step_ns = round(SECOND / (self._fps or self.facts.fps))
        self._start_ns = time.monotonic_ns()

    def capture(self) -> Frame | None:
        picture = self._next()
        if picture is None:
            return None
        self._stamp_ns = self._stamp(picture)
        mono_ns = self._stamp_ns
        if self._pace:
            mono_ns += self._start_ns
            time.sleep(max(0.0, (mono_ns - time.monotonic_ns()) / SECOND))
        buffer = self._copy(picture)
        frame = Frame(buffer, self.width, self.height, self._index, mono_ns, time.time_ns())
        self._index += 1
        return frame

    def close(self) -> None:
        if self._container:
            self._container.close()
            self._container = None

    def _reopen(self) -> None:
        self.close()
        try:
            self._container = av.open(str(self._path))
            stream = self._container.streams.video[0]
        except IndexError as problem:
            raise MediaError(f"{self._path}: no video in it", "name a file with a video track") from problem
        except (FFmpegError, OSError) as problem:
            raise MediaError(
                f"{self._path}: cannot be read as a video: {_say(problem)}", "check the path and the file"
            ) from problem
        stream.thread_count = self._threads
        stream.thread_type = "AUTO" if self._threads > 1 else "NONE"
        self._pictures = self._container.decode(stream)

    def _stream(self) -> VideoStream:
        if self._container is None:
            raise MediaError(f"{self._path}: not open", "call open() first")
        return self._container.streams.video[0]

    def _facts(self) -> Facts:
        stream = self._stream()
        width, height = stream.codec_context.width, stream.codec_context.height
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        if width < 2 or height < 2:
            raise MediaError(f"{self._path}: picture of {width}x{height}", "at least 2x2 pixels are needed")
        audio = bool(self._container and self._container.streams.audio)
        return Facts(width // 2 * 2, height // 2 * 2, float(rate), stream.frames, audio)

    def _next(self) -> av.VideoFrame | None:
        try:
            picture = next(self._pictures, None)
            if picture is None and self._loop and self._index:
                self._reopen()
                picture = next(self._pictures, None)
        except FFmpegError as problem:
            raise MediaError(
                f"{self._path}: torn after {self._index} frames: {_say(problem)}", "what came before it is masked"
            ) from problem
        return picture

    def _stamp(self, picture: av.VideoFrame) -> int:
        """Time of a picture in nanoseconds since the first: strictly rising, whatever the file says."""
        if self._fps or self._loop or picture.time is None:
            return self._index * self._step_ns
        return max(round(picture.time * SECOND), self._stamp_ns + 1_000_000)

    def _copy(self, picture: av.VideoFrame) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        if (picture.format.name, picture.width, picture.height) != ("yuv420p", self.width, self.height):
            picture = picture.reformat(self.width, self.height, "yuv420p")
        buffer = np.empty((self.height * 3 // 2, self.width), np.uint8)
        for plane, target in zip(picture.planes, planes_of(buffer, self.width, self.height), strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            target[:] = rows[:, : plane.width]
        return buffer


def _say(problem: Exception) -> str:
    """The library's words, lower case, without the path it repeats."""
    text = getattr(problem, "strerror", None) or str(problem)
    return text[:1].lower() + text[1:]


def facts(path: Path) -> Facts:
    """What a file says of its video."""
    video = VideoFile(path)
    video.open()
    video.close()
    return video.facts


def still(path: Path, share: float) -> bytes:
    """One picture of a clip as JPEG, at a share (0..1) of its length: for people to look at, from masked clips only."""
    with av.open(str(path)) as container:
        wanted = (container.duration or 0) / av.time_base * share
        picture = next((p for p in container.decode(video=0) if (p.time or 0.0) >= wanted), None)
    if picture is None:
        raise MediaError(f"{path}: no picture at {wanted:.1f} s", "the clip is empty or torn")
    picture = picture.reformat(format="yuvj420p")
    coder = av.CodecContext.create("mjpeg", "w")
    coder.width, coder.height, coder.pix_fmt, coder.time_base = picture.width, picture.height, "yuvj420p", Fraction(1, 25)
    coder.options = {"qscale": "3"}
    return b"".join(bytes(packet) for packet in [*coder.encode(picture), *coder.encode(None)])
