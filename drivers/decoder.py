"""Decoded pictures of a video file, and what is wrong with them.

A decoder hides damage: it fills the hole from other pictures and goes on. Here every picture is marked that something
damaged went into, up to the next one that needs no other. Damage shows as an exception, as a flag of FFmpeg, or only as a
line in FFmpeg's log, so all three are watched. VP8, and now and then HEVC, decode damage into wrong pictures without any
of them: that cannot be known here.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.logging
from av.error import BlockingIOError as NotYet
from av.error import EOFError as AtEnd
from av.error import FFmpegError
from av.filter import Graph
from av.video.stream import VideoStream

from privacy.errors import MediaError

_KEY = 1  # AV_PICTURE_TYPE_I

# FFmpeg's words are counted, not shown: they speak of macroblocks.
_LOG = logging.getLogger("libav")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture; `damaged` if it cannot be trusted."""

    native: av.VideoFrame
    damaged: bool


@dataclass
class Count:
    """What became of the packets of a video track.

    packets     with a picture in them, as read
    pictures    decoded
    errors      packets that could not be decoded
    damaged     pictures that cannot be trusted
    interlaced  pictures of two fields
    """

    packets: int = 0
    pictures: int = 0
    errors: int = 0
    damaged: int = 0
    interlaced: int = 0


class Decoder:
    """The first real video track of a local file. Raises `MediaError` for what cannot be opened or read on."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._path, self._threads = path, threads
        self.count = Count()
        self._bad_from = -1
        self._damage = False
        # Errors may be logged by FFmpeg's threads between two calls: they are counted from check to check.
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
        self._logged = 0
        try:
            # file: and the whitelist: no name and no playlist makes FFmpeg open an address.
            self.container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
        except (FFmpegError, OSError) as problem:
            raise MediaError(f"{path}: cannot be read as a video: {say(problem)}", "check the path and the file") from problem
        self.stream = self._track()
        context = self.stream.codec_context
        context.copy_opaque = True
        self.stream.thread_count = threads
        self.stream.thread_type = "AUTO" if threads > 1 else "NONE"

    def pictures(self) -> Iterator[Picture]:
        """All pictures in the order of showing; from the first of two fields on, deinterlaced."""
        try:
            yield from self._progressive()
        except FFmpegError as problem:
            what = f"torn after {self.count.pictures} frames"
            raise MediaError(f"{self._path}: {what}: {say(problem)}", "nothing was written; repair the file first") from problem

    def close(self) -> None:
        if self._threads > 1:
            # A thread of FFmpeg that waits for Python's lock to log must not be joined while we hold that lock.
            av.logging.set_level(None)
            time.sleep(0.02)
        self.container.close()

    def _track(self) -> VideoStream:
        tracks = self.container.streams.video
        moving = [track for track in tracks if not track.disposition & track.disposition.attached_pic]
        if moving:
            return moving[0]
        self.container.close()
        what = "only a cover picture" if tracks else "no video in it"
        raise MediaError(f"{self._path}: {what}", "name a file with a video track")

    def _progressive(self) -> Iterator[Picture]:
        comb: _Deinterlacer | None = None
        for picture in self._decode():
            if comb is None and not picture.native.interlaced_frame:
                yield picture
                continue
            if comb is None or not comb.fits(picture.native):
                yield from comb.end() if comb else ()
                comb = _Deinterlacer(picture.native)
            yield from comb.feed(picture)
        yield from comb.end() if comb else ()

    def _decode(self) -> Iterator[Picture]:
        self._logged = av.logging.get_last_error()[0]
        for packet in self.container.demux(self.stream):
            if packet.size:
                packet.opaque = self.count.packets
                self.count.packets += not packet.is_discard
            for native in self._pictures_of(packet):
                yield self._judge(native)

    def _pictures_of(self, packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
        natives: list[av.VideoFrame] = []
        try:
            natives = self.stream.decode(packet)
        except FFmpegError:
            self.count.errors += 1
            self._bad(self.count.packets)
        logged = av.logging.get_last_error()[0]
        if logged != self._logged or packet.is_corrupt:
            self._logged = logged
            self._bad(self.count.packets)
        return natives

    def _bad(self, packet: int) -> None:
        self._damage, self._bad_from = True, packet

    def _judge(self, native: av.VideoFrame) -> Picture:
        """Damage lasts until a picture that needs no other and came out of a later packet than the damage."""
        if native.is_corrupt:
            self._bad(self.count.packets)
        elif self._damage and native.key_frame and native.pict_type == _KEY:
            packet = native.opaque
            self._damage = not (isinstance(packet, int) and packet >= self._bad_from)
        self.count.pictures += 1
        self.count.damaged += self._damage
        self.count.interlaced += native.interlaced_frame
        return Picture(native, self._damage)


class _Deinterlacer:
    """FFmpeg's bwdif over pictures of one size and format: as many out as in, one picture later."""

    def __init__(self, like: av.VideoFrame) -> None:
        self._like = _shape(like)
        self._damaged: deque[bool] = deque()
        self._graph = Graph()
        source = self._graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=like.time_base)
        filter_, sink = self._graph.add("bwdif", "mode=send_frame:deint=interlaced"), self._graph.add("buffersink")
        source.link_to(filter_)
        filter_.link_to(sink)
        self._graph.configure()

    def fits(self, native: av.VideoFrame) -> bool:
        return _shape(native) == self._like

    def feed(self, picture: Picture) -> Iterator[Picture]:
        self._damaged.append(picture.damaged)
        self._graph.vpush(picture.native)
        yield from self._pull()

    def end(self) -> Iterator[Picture]:
        self._graph.vpush(None)
        yield from self._pull()

    def _pull(self) -> Iterator[Picture]:
        while True:
            try:
                native = self._graph.vpull()
            except (NotYet, AtEnd):
                return
            yield Picture(native, self._damaged.popleft())


def _shape(native: av.VideoFrame) -> tuple[int, int, str]:
    return native.width, native.height, native.format.name


def say(problem: Exception) -> str:
    """The library's words, lower case, without the path it repeats."""
    text = getattr(problem, "strerror", None) or str(problem)
    return text[:1].lower() + text[1:]
