"""Decodes a video file and marks the pictures that are damaged.

A decoder conceals damage: it fills missing parts from other pictures and continues. Here every picture that depends on damaged
data is marked, up to the next picture that depends on no other. Damage shows as an exception, as a flag of FFmpeg, or only as a
line in FFmpeg's log, so all three are checked. VP8, and sometimes HEVC, decode damaged data into wrong pictures with none of
these signs; such damage is not detected.

Every exception of FFmpeg or PyAV about a file becomes a `MediaError`.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import av.logging
from av.container import InputContainer
from av.error import BlockingIOError as NotYet
from av.error import EOFError as AtEnd
from av.error import FFmpegError
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.stream import VideoStream

from privacy.errors import MediaError

# Macroblocks per picture, at most (H.264 level 6.2, ITU-T H.264 table A-1).
MOST_BLOCKS = 139_264
# FFmpeg allocates memory for no larger picture, whatever a file declares. Twice the limit of H.264, so that a picture slightly
# above that limit gets an error message of its own.
_MOST_PIXELS = 2 * 256 * MOST_BLOCKS
_KEY = 1  # AV_PICTURE_TYPE_I
_CODINGS = re.compile(r"Stream #\d+:(\d+).*?: Video: (.+?)(?:, |$)", re.MULTILINE)
# Formats that refer to other files or to the network: they would show another file than the given one, or wait for ever for an
# endless playlist. FFmpeg's whitelist has all other formats.
_ELSEWHERE = {"concat", "dash", "hls", "imf", "mlv", "rtp", "rtsp", "sap", "sdp", "vobsub"}
_REFUSED = "Format not on whitelist"
# Brands of files that hold pictures as items (ISO/IEC 23008-12): HEIC and AVIF.
_ITEMS = {"mif1", "mif2", "msf1", "miaf", "heic", "heix", "heim", "heis", "hevc", "hevx", "avif", "avis"}

# FFmpeg's messages are counted, not shown: they describe macroblocks, which do not help a user.
_LOG = logging.getLogger("libav")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False


def _unlisted(kind: type[Type], value: int) -> Type:
    """A member for a kind of side data that this PyAV does not know, e.g. Exif. Without it PyAV fails to list any side data."""
    member = object.__new__(kind)
    member.__dict__.update(_name_=f"UNLISTED_{value}", _value_=value)
    return member


Type._missing_ = classmethod(_unlisted)  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture. damaged: its content may be wrong."""

    native: av.VideoFrame
    damaged: bool


@dataclass
class Count:
    """Numbers of packets and pictures of a video track.

    packets     packets read that hold a picture
    pictures    pictures decoded
    errors      packets that could not be decoded
    damaged     pictures whose content may be wrong
    interlaced  pictures made of two fields
    """

    packets: int = 0
    pictures: int = 0
    errors: int = 0
    damaged: int = 0
    interlaced: int = 0


class Decoder:
    """Decodes the first video track of a local file that is not a cover picture. Raises `MediaError` if it cannot be opened or
    read on."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._path, self._threads = path, threads
        self.count = Count()
        self._bad_from = -1
        self._damage = False
        # FFmpeg's threads may log errors between two calls: they are counted from one check to the next.
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
        self._before = self._logged = av.logging.get_last_error()[0]
        self.container = self._opened()
        self.stream = self._track()
        context = self.stream.codec_context
        context.copy_opaque = True
        context.options = {"max_pixels": str(_MOST_PIXELS)}
        self.stream.thread_count = threads
        self.stream.thread_type = "AUTO" if threads > 1 else "NONE"

    def pictures(self) -> Iterator[Picture]:
        """All pictures in display order; from the first interlaced one on they are deinterlaced."""
        pictures = self._progressive()
        while True:
            with reading(self._path, f"torn after {self.count.pictures} frames", "nothing was written; repair the file first"):
                picture = next(pictures, None)
            if picture is None:
                return
            yield picture

    def why(self) -> str:
        """FFmpeg's last log message in parentheses, or "": the reason why there is no picture."""
        number, last = av.logging.get_last_error()
        return f" ({last[2].strip()})" if last and number > self._before else ""

    def close(self) -> None:
        if self._threads > 1:
            # A thread of FFmpeg may be waiting for Python's global lock in order to log. Closing joins that thread, which would be
            # a deadlock, so logging is switched off first.
            av.logging.set_level(None)
            time.sleep(0.02)
        self.container.close()

    def _opened(self) -> InputContainer:
        # "file:" and the whitelists keep FFmpeg from opening an address or another file because of a name or a playlist;
        # pattern_type keeps "%d" in a name from being read as a numbered series. Tags may be in any encoding.
        own = ",".join(sorted(av.formats_available - _ELSEWHERE))
        options = {"protocol_whitelist": "file", "format_whitelist": own, "pattern_type": "none", "max_pixels": str(_MOST_PIXELS)}
        try:
            with reading(self._path, "cannot be read as a video", "check the path and the file"):
                return av.open(f"file:{self._path}", options=options, metadata_errors="replace")
        except MediaError:
            if _REFUSED in self.why():
                raise MediaError(f"{self._path}: a list of other files or addresses", "give those files instead") from None
            raise

    def _track(self) -> VideoStream:
        try:
            tracks = [track for track in self.container.streams.video if not track.disposition & Disposition.attached_pic]
            if not tracks:
                what = "only a cover picture" if self.container.streams.video else "no video in it"
                raise MediaError(f"{self._path}: {what}", "give a file with a video track")
            track = self._main(tracks)
            if track.codec_context is None:
                raise MediaError(f"{self._path}: no decoder for {self._codec(track)}", "convert it with another tool first")
        except MediaError:
            self.container.close()
            raise
        return track

    def _main(self, tracks: list[VideoStream]) -> VideoStream:
        """The first track. In HEIC and AVIF files, which hold pictures as items, the item or sequence marked as the main one;
        `MediaError` if that is assembled from tiles."""
        whole = [track for track in tracks if not track.disposition & Disposition.dependent]
        items = self.container.metadata.get("major_brand", "") in _ITEMS
        if len(whole) == len(tracks) and not items:
            return tracks[0]
        named = [track for track in whole if track.disposition & Disposition.default]
        # A file with a sequence also holds the sequence's first picture as an item: take the one with more frames.
        main = max(named, key=lambda track: track.frames, default=None)
        if main is None:
            what = f"a picture assembled from {len(tracks)} parts (tiles)"
            raise MediaError(f"{self._path}: {what}", "save it as JPEG or PNG with another tool first")
        return main

    def _codec(self, track: VideoStream) -> str:
        """FFmpeg's name of a codec that it cannot decode; only its textual description of the file contains it."""
        av.logging.set_level(av.logging.INFO)
        names = dict(_CODINGS.findall(self.container.dumps_format()))  # type: ignore[attr-defined]
        av.logging.set_level(av.logging.ERROR)
        return str(names.get(str(track.index), "its codec")).removeprefix("none ").strip("()")

    def _progressive(self) -> Iterator[Picture]:
        deinterlacer: _Deinterlacer | None = None
        for picture in self._decode():
            if deinterlacer is None and not picture.native.interlaced_frame:
                yield picture
                continue
            if deinterlacer is None or not deinterlacer.fits(picture.native):
                yield from deinterlacer.end() if deinterlacer else ()
                deinterlacer = _Deinterlacer(picture.native)
            yield from deinterlacer.feed(picture)
        yield from deinterlacer.end() if deinterlacer else ()

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
        """Mark a picture. Damage lasts until a key picture from a packet after the damaged one."""
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
    """FFmpeg's filter bwdif for pictures of one size and format. Gives one picture for each picture, with a delay of one."""

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


@contextmanager
def reading(path: Path, what: str, hint: str) -> Iterator[None]:
    """Turns the exceptions of FFmpeg and PyAV about a file into `MediaError`. PyAV also raises Python's own errors, for text that
    is not UTF-8, numbers out of range, and pictures that do not fit into memory."""
    try:
        yield
    except MediaError:
        raise
    except (FFmpegError, OSError, ValueError, ArithmeticError, MemoryError) as problem:
        raise MediaError(f"{path}: {what}: {say(problem)}", hint) from problem


def say(problem: BaseException) -> str:
    """The library's error message without the path, first letter in lower case."""
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return str(text[:1].lower() + text[1:])
