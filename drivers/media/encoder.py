"""H.264 encoding through PyAV: libx264, or the hardware encoder (h264_v4l2m2m) if its device exists. Accepts only `MaskedFrame`.

Also the writers: fragmented MP4 into a seal (fragments of one second, without seeking), and plain MP4 and FFV1 masks into files.

The hardware encoder differs from libx264 in two ways; `test_encoders.py` has the same tests for both. It sends its parameter sets
once, in a packet of their own (raspberrypi/linux, pull request 4002). FFmpeg passes rows to it without regard to the stride that it
expects (libavcodec/v4l2_buffers.c), so only widths are accepted whose rows need no padding.
"""

from __future__ import annotations

import io
import re
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, cast

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from privacy.errors import MediaError
from privacy.masking.frames import MaskedFrame, Plane, require_masked

CLOCK = Fraction(1, 90_000)
_CHIP, _SOFTWARE = "h264_v4l2m2m", "libx264"
_V4L2_ENCODER = Path("/dev/video11")  # bcm2835-codec on a Pi 4; a Pi 5 has no H.264 encoder
_ALIGNED = 64
"""The row length of bcm2835-codec's pictures is a multiple of this, bytes."""
_UNIT = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_SLICES, _SPS = range(1, 6), 7


@dataclass(frozen=True, slots=True)
class Packet:
    """One encoded picture.

    pts, dts   ticks of 1/90000 s since the encoder's first picture
    key        whether it is a key picture
    mono_ns    monotonic time of exposure, nanoseconds
    """

    data: bytes
    pts: int
    dts: int
    key: bool
    mono_ns: int


class H264Encoder:
    """Encodes without look-ahead: at most one packet for each picture, and one key picture per second.

    bitrate   bits per second, or None for constant quality
    aspect    pixel aspect ratio, width to height
    device    device of the hardware encoder, which is used only with a bit rate; libx264 if it is missing or refuses
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: float,
        *,
        bitrate: int | None = None,
        threads: int = 1,
        aspect: Fraction | None = None,
        device: Path = _V4L2_ENCODER,
    ) -> None:
        self._width, self._height = width, height
        self._first_ns: int | None = None
        self._stamps: dict[int, int] = {}
        self._sets = b""
        self.refusal = ""
        """Why the hardware encoder is not used although its device exists; "" otherwise."""
        chip = bool(bitrate) and device.exists()
        if chip and width % _ALIGNED:
            self.refusal = f"{_CHIP} takes widths that are a multiple of {_ALIGNED}, not {width}"
        elif chip:
            try:
                self._context = _context(_CHIP, width, height, fps, threads, aspect, {}, bitrate)
            except FFmpegError as problem:
                self.refusal = f"{_CHIP} refuses {width}x{height}: {problem}"
            else:
                self.name = _CHIP
                return
        self.name = _SOFTWARE
        try:
            options = {"preset": "ultrafast", "tune": "zerolatency", **_rate(bitrate)}
            self._context = _context(_SOFTWARE, width, height, fps, threads, aspect, options, bitrate)
        except FFmpegError as problem:
            raise MediaError(f"encoder: {self.name} refuses {width}x{height}: {problem}", "choose another size") from problem

    def encode(self, picture: MaskedFrame) -> list[Packet]:
        """The packets that are ready after this picture. The buffer is not needed afterwards.

        `MediaError` if the encoder still refers to the buffer: the camera will write its next, unmasked picture into it.
        """
        require_masked(picture)
        if (picture.width, picture.height) != (self._width, self._height):
            raise MediaError(f"encoder: a picture of {picture.width}x{picture.height}", "the size of a stream is fixed")
        if self.name == _CHIP and picture.buffer.shape[1] != picture.width:
            raise MediaError(f"encoder: {_CHIP} accepts no stride of {picture.buffer.shape[1]}", "choose another camera.width")
        if self._first_ns is None:
            self._first_ns = picture.mono_ns
        # A separate view of the buffer: it exists for as long as FFmpeg refers to it.
        view = picture.buffer[:]
        kept = weakref.ref(view)
        native = av.VideoFrame.from_numpy_buffer(view, "yuv420p", picture.width)
        native.pts = round((picture.mono_ns - self._first_ns) * CLOCK.denominator / 1_000_000_000)
        native.time_base = CLOCK
        self._stamps[native.pts] = picture.mono_ns
        packets = list(self._packets(native))
        del view, native
        if kept() is not None:
            raise MediaError(f"encoder: {self.name} keeps a picture after reading it", "it is too slow: lower camera.fps")
        return packets

    def end(self) -> list[Packet]:
        """The packets that the encoder still holds."""
        return list(self._packets(None))

    def _packets(self, native: av.VideoFrame | None) -> Iterator[Packet]:
        for packet in self._code(native):
            data, pts = bytes(packet), packet.pts or 0
            kinds = set(_units(data))
            if kinds.isdisjoint(_SLICES):
                # The hardware encoder's parameter sets; the packet's time stamp has no meaning.
                self._sets = data if _SPS in kinds else self._sets
                continue
            if packet.is_keyframe and _SPS not in kinds:
                data = self._sets + data
            dts = pts if packet.dts is None else packet.dts
            yield Packet(data, pts, dts, packet.is_keyframe, self._stamp(pts))

    def _code(self, native: av.VideoFrame | None) -> list[av.Packet[VideoStream]]:
        try:
            return self._context.encode(native)
        except FFmpegError as problem:
            raise MediaError(f"encoder: {self.name}: {problem}", "the service starts again") from problem

    def _stamp(self, pts: int) -> int:
        """Exposure time of a packet's picture, ns. Entries of earlier pictures, which gave no packet, are deleted."""
        if pts not in self._stamps:
            raise MediaError(f"encoder: {self.name} returns an unknown time stamp {pts}", "please report it")
        mono_ns = self._stamps[pts]
        self._stamps = {at: ns for at, ns in self._stamps.items() if at > pts}
        return mono_ns


def _units(data: bytes) -> Iterator[int]:
    """Types of the NAL units of one access unit, up to its first slice (ITU-T H.264, table 7-1 and annex B)."""
    for found in _UNIT.finditer(data):
        kind = found[1][0] & 31
        yield kind
        if kind in _SLICES:
            return


def _context(
    name: str,
    width: int,
    height: int,
    fps: float,
    threads: int,
    aspect: Fraction | None,
    options: dict[str, str],
    bitrate: int | None,
) -> VideoCodecContext:
    """An opened encoder. Raises `FFmpegError`."""
    context = cast(VideoCodecContext, av.CodecContext.create(name, "w"))
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = CLOCK, Fraction(fps).limit_denominator(1000)
    context.gop_size, context.thread_count = max(1, round(fps)), threads
    if aspect:
        context.sample_aspect_ratio = aspect
    if bitrate:
        context.bit_rate = bitrate
    context.options = options
    context.open()
    return context


def _rate(bitrate: int | None) -> dict[str, str]:
    if bitrate is None:
        return {"crf": "23"}
    return {"maxrate": str(bitrate), "bufsize": str(bitrate * 2)}


class StreamSink(Protocol):
    """Takes the bytes of a stream, in order."""

    def write(self, data: bytes, /) -> int: ...


class Mp4Writer:
    """Writes H.264 packets as MP4 without an audio track (R13). The first packet must be a key picture.

    target   a path: plain MP4; a sink: fragments of one second, written in order without seeking
    """

    def __init__(self, target: Path | StreamSink, fps: float) -> None:
        # "file:" keeps FFmpeg from opening an address because of the name.
        file = f"file:{target}" if isinstance(target, Path) else target
        options = {} if isinstance(target, Path) else _FRAGMENTS
        try:
            self._container = av.open(file, "w", format="mp4", options=options)
        except OSError as problem:
            raise MediaError(f"{target}: cannot be written: {problem.strerror}", "choose a folder you may write to") from problem
        self._stream: VideoStream | None = None
        self._step = round(CLOCK.denominator / fps)
        self._first = 0

    def write(self, packet: Packet) -> None:
        if self._stream is None:
            self._stream = self._begin(packet)
        native = av.Packet(packet.data)
        native.stream, native.time_base = self._stream, CLOCK
        native.pts, native.dts = packet.pts - self._first, packet.dts - self._first
        native.duration, native.is_keyframe = self._step, packet.key
        self._container.mux_one(native)

    def close(self) -> None:
        self._container.close()

    def _begin(self, packet: Packet) -> VideoStream:
        """The track, as described by the parameter sets in the first key picture."""
        self._first = packet.pts
        with av.open(io.BytesIO(packet.data), format="h264") as parsed:
            stream = self._container.add_stream_from_template(parsed.streams.video[0])
        # The template's time base is finer: with it, 30 minutes between two pictures would not fit into MP4's 32 bits.
        stream.time_base = CLOCK
        return stream


_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}


class MaskWriter:
    """Writes masks without loss: FFV1 in Matroska, gray, 255 = masked, one picture per frame."""

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self._container = av.open(f"file:{path}", "w", format="matroska")
        self._stream = self._container.add_stream("ffv1", Fraction(fps).limit_denominator(1000))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "gray"
        self._count = 0

    def write(self, raster: Plane) -> None:
        native = av.VideoFrame.from_ndarray(raster, "gray")
        native.pts = self._count
        self._count += 1
        self._container.mux(self._stream.encode(native))

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
