"""Decoded pictures of a video file, and what is wrong with them.

A decoder hides damage: it fills the hole from other pictures and goes on. Here every picture is marked that something
damaged went into, up to the next one that needs no other. Damage shows as an exception, as a flag of FFmpeg, or only as a
line in FFmpeg's log, so all three are watched. VP8, and now and then HEVC, decode damage into wrong pictures without any
of them: that cannot be known here.

Whatever FFmpeg or PyAV raise over a file is told as one `MediaError`.
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

# H.264 ends here (level 6.2, ITU-T H.264 table A-1): macroblocks a picture.
MOST_BLOCKS = 139_264
# FFmpeg gets memory for no larger picture, whatever a file declares: what is larger than H.264 by less is refused by name.
_MOST_PIXELS = 2 * 256 * MOST_BLOCKS
_KEY = 1  # AV_PICTURE_TYPE_I
_CODINGS = re.compile(r"Stream #\d+:(\d+).*?: Video: (.+?)(?:, |$)", re.MULTILINE)
# Formats that name what is elsewhere, in files or on the network: another file than the one given would be shown, and a playlist
# without an end would be waited for. FFmpeg is told all the others.
_ELSEWHERE = {"concat", "dash", "hls", "imf", "mlv", "rtp", "rtsp", "sap", "sdp", "vobsub"}
_REFUSED = "Format not on whitelist"
# Brands of files that hold pictures as items (ISO/IEC 23008-12): HEIC and AVIF.
_ITEMS = {"mif1", "mif2", "msf1", "miaf", "heic", "heix", "heim", "heis", "hevc", "hevx", "avif", "avis"}

# FFmpeg's words are counted, not shown: they speak of macroblocks.
_LOG = logging.getLogger("libav")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False


def _unlisted(kind: type[Type], value: int) -> Type:
    """A kind of side data that this PyAV has no name for (Exif is one): it would refuse to list any of a picture's."""
    member = object.__new__(kind)
    member.__dict__.update(_name_=f"UNLISTED_{value}", _value_=value)
    return member


Type._missing_ = classmethod(_unlisted)  # type: ignore[assignment]


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
        self._before = self._logged = av.logging.get_last_error()[0]
        self.container = self._opened()
        self.stream = self._track()
        context = self.stream.codec_context
        context.copy_opaque = True
        context.options = {"max_pixels": str(_MOST_PIXELS)}
        self.stream.thread_count = threads
        self.stream.thread_type = "AUTO" if threads > 1 else "NONE"

    def pictures(self) -> Iterator[Picture]:
        """All pictures in the order of showing; from the first of two fields on, deinterlaced."""
        pictures = self._progressive()
        while True:
            with reading(self._path, f"torn after {self.count.pictures} frames", "nothing was written; repair the file first"):
                picture = next(pictures, None)
            if picture is None:
                return
            yield picture

    def why(self) -> str:
        """FFmpeg's last words, where there is no picture to show for it."""
        number, last = av.logging.get_last_error()
        return f" ({last[2].strip()})" if last and number > self._before else ""

    def close(self) -> None:
        if self._threads > 1:
            # A thread of FFmpeg that waits for Python's lock to log must not be joined while we hold that lock.
            av.logging.set_level(None)
            time.sleep(0.02)
        self.container.close()

    def _opened(self) -> InputContainer:
        # file: and the whitelists: no name and no playlist makes FFmpeg open an address or another file, and %d in a name is no
        # number of a series. Tags may be in any encoding.
        own = ",".join(sorted(av.formats_available - _ELSEWHERE))
        options = {"protocol_whitelist": "file", "format_whitelist": own, "pattern_type": "none", "max_pixels": str(_MOST_PIXELS)}
        try:
            with reading(self._path, "cannot be read as a video", "check the path and the file"):
                return av.open(f"file:{self._path}", options=options, metadata_errors="replace")
        except MediaError:
            if _REFUSED in self.why():
                raise MediaError(f"{self._path}: a list of other files or addresses", "name those files themselves") from None
            raise

    def _track(self) -> VideoStream:
        try:
            tracks = [track for track in self.container.streams.video if not track.disposition & Disposition.attached_pic]
            if not tracks:
                what = "only a cover picture" if self.container.streams.video else "no video in it"
                raise MediaError(f"{self._path}: {what}", "name a file with a video track")
            track = self._main(tracks)
            if track.codec_context is None:
                raise MediaError(f"{self._path}: no decoder for {self._codec(track)}", "convert it with another tool first")
        except MediaError:
            self.container.close()
            raise
        return track

    def _main(self, tracks: list[VideoStream]) -> VideoStream:
        """The first track; of a file of items, the sequence or picture that it names as its main one, if that is whole."""
        whole = [track for track in tracks if not track.disposition & Disposition.dependent]
        items = self.container.metadata.get("major_brand", "") in _ITEMS
        if len(whole) == len(tracks) and not items:
            return tracks[0]
        named = [track for track in whole if track.disposition & Disposition.default]
        # A sequence also holds its first picture as an item.
        main = max(named, key=lambda track: track.frames, default=None)
        if main is None:
            what = f"a picture put together of {len(tracks)} parts (tiles)"
            raise MediaError(f"{self._path}: {what}", "save it as JPEG or PNG with another tool first")
        return main

    def _codec(self, track: VideoStream) -> str:
        """What FFmpeg calls a coding that it cannot decode; only its description of the file has that."""
        av.logging.set_level(av.logging.INFO)
        told = dict(_CODINGS.findall(self.container.dumps_format()))  # type: ignore[attr-defined]
        av.logging.set_level(av.logging.ERROR)
        return str(told.get(str(track.index), "its coding")).removeprefix("none ").strip("()")

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


@contextmanager
def reading(path: Path, what: str, hint: str) -> Iterator[None]:
    """Whatever FFmpeg and PyAV raise over a file's bytes, as `MediaError`: PyAV also lets Python's own errors through, for
    text that is no UTF-8, numbers that fit nowhere, and pictures that no memory holds."""
    try:
        yield
    except MediaError:
        raise
    except (FFmpegError, OSError, ValueError, ArithmeticError, MemoryError) as problem:
        raise MediaError(f"{path}: {what}: {say(problem)}", hint) from problem


def say(problem: BaseException) -> str:
    """The library's words, lower case, without the path it repeats."""
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return str(text[:1].lower() + text[1:])
