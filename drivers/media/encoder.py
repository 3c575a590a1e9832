"""H.264 through PyAV: libx264, or the kernel's h264_v4l2m2m where a device for it exists. It takes nothing but `MaskedFrame`.

Also the two writers: fragmented MP4 into a seal (one-second fragments, never seeks), plain MP4 and FFV1 masks into files.

The chip's encoder differs from a library, and `test_encoders.py` asks the same of both: it sends its parameter sets once, in a
packet of their own (raspberrypi/linux, pull request 4002), and FFmpeg hands it rows as they lie, whatever stride it wants
(libavcodec/v4l2_buffers.c), so that only widths are taken whose rows need no padding.
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
"""Bytes that a row of bcm2835-codec's pictures is a multiple of."""
_UNIT = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_SLICES, _SPS = range(1, 6), 7


@dataclass(frozen=True, slots=True)
class Packet:
    """One coded picture. pts and dts in ticks of 1/90000 s since the encoder's first picture."""

    data: bytes
    pts: int
    dts: int
    key: bool
    mono_ns: int


class H264Encoder:
    """One picture in, at most one packet out, no look-ahead, a key picture a second.

    bitrate   bits a second, or None for constant quality
    aspect    shape of a pixel, width to height
    device    the chip's encoder, which only a bit rate can be asked of; libx264 where it is missing or refuses
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
        """Why the chip's encoder is not used though there is one."""
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
        """Packets that are ready after this picture; reads its buffer, keeps nothing of it.

        `MediaError` if it does keep it: the camera's next picture would be in there, before it is masked.
        """
        require_masked(picture)
        if (picture.width, picture.height) != (self._width, self._height):
            raise MediaError(f"encoder: a picture of {picture.width}x{picture.height}", "the size of a stream is fixed")
        if self.name == _CHIP and picture.buffer.shape[1] != picture.width:
            raise MediaError(f"encoder: {_CHIP} takes no stride of {picture.buffer.shape[1]}", "choose another camera.width")
        if self._first_ns is None:
            self._first_ns = picture.mono_ns
        # A view of its own, which lives for as long as FFmpeg holds on to it.
        view = picture.buffer[:]
        kept = weakref.ref(view)
        native = av.VideoFrame.from_numpy_buffer(view, "yuv420p", picture.width)
        native.pts = round((picture.mono_ns - self._first_ns) * CLOCK.denominator / 1_000_000_000)
        native.time_base = CLOCK
        self._stamps[native.pts] = picture.mono_ns
        packets = list(self._packets(native))
        del view, native
        if kept() is not None:
            raise MediaError(f"encoder: {self.name} keeps a picture that it was to read", "it is behind: lower camera.fps")
        return packets

    def end(self) -> list[Packet]:
        """The packets still inside."""
        return list(self._packets(None))

    def _packets(self, native: av.VideoFrame | None) -> Iterator[Packet]:
        for packet in self._code(native):
            data, pts = bytes(packet), packet.pts or 0
            kinds = set(_units(data))
            if kinds.isdisjoint(_SLICES):
                # The chip's parameter sets, with a stamp that means nothing.
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
        """When the picture of a packet was taken; those before it that gave no packet are forgotten."""
        if pts not in self._stamps:
            raise MediaError(f"encoder: {self.name} codes a picture of {pts}, which it was not given", "please report it")
        mono_ns = self._stamps[pts]
        self._stamps = {at: ns for at, ns in self._stamps.items() if at > pts}
        return mono_ns


def _units(data: bytes) -> Iterator[int]:
    """Kinds of the NAL units of one access unit, up to its first slice (ITU-T H.264, table 7-1 and annex B)."""
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
    """Open; raises `FFmpegError`."""
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


class Sink(Protocol):
    """Where the bytes of a stream go."""

    def write(self, data: bytes, /) -> int: ...


class Mp4Writer:
    """H.264 packets into MP4 without an audio track (R13). The first packet must be a key picture.

    target   a path for a plain file; a sink for fragments of one second, written forward only
    """

    def __init__(self, target: Path | Sink, fps: float) -> None:
        # file: no name makes FFmpeg open an address.
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
        """The track as the first key picture describes it: its parameter sets stand before it."""
        self._first = packet.pts
        with av.open(io.BytesIO(packet.data), format="h264") as parsed:
            stream = self._container.add_stream_from_template(parsed.streams.video[0])
        # The template's clock is finer, and 30 minutes from one picture to the next would not fit into MP4's 32 bits.
        stream.time_base = CLOCK
        return stream


_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}


class MaskWriter:
    """Lossless masks: FFV1, gray, 255 = masked, one picture a frame, in Matroska."""

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
