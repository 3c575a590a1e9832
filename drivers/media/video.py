"""Reads video files through PyAV: for `lykta mask`, and in place of a camera (`drivers.camera.file_camera`).

Every file that FFmpeg opens gives frames of one even size, upright, 8 bit, deinterlaced, with rising time stamps.
`VideoFile.notes` lists the conversions, what was dropped, and the faults of the file. A damaged picture becomes black, so that
nothing in it is ever shown.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from drivers.media.decoder import MOST_BLOCKS, Decoder, Picture, reading
from drivers.media.upright import UPRIGHT, Size, Turn, blacken, even, fitting, lay
from privacy.errors import MediaError
from privacy.masking.frames import Frame, Plane

SECOND = 1_000_000_000
_LONGEST = 16_384
# Pictures closer together than the first are set apart by the second: the H.264 time base here has 90,000 ticks per second, and
# each picture needs a tick of its own.
_NEAREST_NS = 100_000
_APART_NS = 1_000_000
# A longer gap means that the recorder's clock was set; it is closed. MP4 has 32 bits for the time from one picture to the next
# (6.6 h at that time base).
_FARTHEST_NS = 6 * 3600 * SECOND
# Limits of plausible frame rates and pixel aspect ratios; values outside of them are errors in the file.
_SLOWEST, _FASTEST, _NARROWEST = Fraction(1, 600), Fraction(1000), Fraction(1, 100)


@dataclass(frozen=True)
class VideoFacts:
    """Properties of a video file, and what of it is not carried over.

    width, height   of the frames, upright and even
    fps, frames     frames per second; number of frames, 0 = unknown
    audio           whether it has an audio track
    stored, aspect  width and height as stored; pixel aspect ratio of the upright picture
    codec, pixels   FFmpeg's names of codec and pixel format
    turn            how the picture was turned upright
    dropped         number of other tracks by kind, and of chapters
    tags            names of descriptive tags, such as title, place and time
    """

    width: int
    height: int
    fps: float
    frames: int
    audio: bool
    stored: Size
    aspect: Fraction
    codec: str
    pixels: str
    turn: Turn
    dropped: dict[str, int]
    tags: tuple[str, ...]


class VideoFile:
    """The pictures of a file, decoded on demand; `capture` returns None after the last one.

    fps       None: use the file's time stamps; a number: space the pictures evenly at that rate
    size      (width, height) to scale to, or None
    rotation  0 or 180 degrees, in addition to the file's own rotation

    damaged   indices of the frames that are black because they were decoded from damaged data
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None = None,
        size: Size | None = None,
        rotation: int = 0,
        threads: int = 1,
    ) -> None:
        self._path, self._fps, self._threads = path, fps, threads
        self._size, self._upside_down = size, rotation == 180
        self.width, self.height = size or (0, 0)
        self._decoder: Decoder | None = None
        self._turn, self._rotation = UPRIGHT, 0
        # Released buffers for reuse: allocating memory for each picture costs more than the copy into it.
        self._free: list[Plane] = []
        self._pictures: Iterator[Picture] = iter(())
        self._first: Picture | None = None
        self.damaged: set[int] = set()
        self.rescaled = self.restamped = self._index = 0
        self.closed: list[int] = []
        """Lengths in seconds of the gaps that were closed."""
        self._step_ns = self._shift_ns = self._said_ns = self._begin_ns = 0
        self._stamp_ns = -1

    def open(self) -> None:
        """Open the file and decode the first picture, which alone gives the true size and rotation. Raises `MediaError`."""
        self.close()
        self._decoder = Decoder(self._path, self._threads)
        self._pictures = self._decoder.pictures()
        try:
            self._first = next(self._pictures, None)
            if self._first is None:
                raise MediaError(f"{self._path}: no frame in it{self._decoder.why()}", "check the file, or convert it first")
            self._turn = self._upright(self._first.native)
            with reading(self._path, "cannot be read as a video", "nothing was written"):
                self.facts = self._facts(self._first.native)
        except MediaError:
            self.close()
            raise
        self.width, self.height = self._size or (self.facts.width, self.facts.height)
        self._step_ns = round(SECOND / (self._fps or self.facts.fps))

    def capture(self) -> Frame | None:
        picture, self._first = self._first or next(self._pictures, None), None
        if picture is None:
            return None
        self._stamp_ns = self._stamp(picture.native)
        buffer = self._free.pop() if self._free else np.empty((self.height * 3 // 2, self.width), np.uint8)
        if picture.damaged:
            self.damaged.add(self._index)
            blacken(buffer)
        else:
            self._copy(picture.native, buffer)
        release = partial(self._free.append, buffer)
        frame = Frame(buffer, self.width, self.height, self._index, self._stamp_ns, time.time_ns(), release)
        self._index += 1
        return frame

    def close(self) -> None:
        if self._decoder:
            self._decoder.close()

    def notes(self) -> list[str]:
        """The conversions and the faults of the file as sentences; complete after the last frame."""
        return [*self._changes(), *self._faults()]

    @property
    def faults(self) -> dict[str, int]:
        """Numbers of faults: frames blacked out, packets without a picture, missing frames, changed time stamps, closed gaps."""
        count = self._open.count
        lost = 0 if count.interlaced else max(0, count.packets - count.pictures)
        return {
            "damaged": len(self.damaged),
            "undecodable": max(lost, count.errors),
            "missing": max(0, self.facts.frames - count.packets),
            "restamped": self.restamped,
            "closed_up": len(self.closed),
        }

    @property
    def interlaced(self) -> int:
        return self._open.count.interlaced

    @property
    def _open(self) -> Decoder:
        if self._decoder is None:
            raise MediaError(f"{self._path}: not open", "call open() first")
        return self._decoder

    def _facts(self, native: av.VideoFrame) -> VideoFacts:
        container, stream = self._open.container, self._open.stream
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        turn = self._turn
        width, height = even(turn.size(native.width, native.height))
        if max(width, height) > _LONGEST or -(-width // 16) * -(-height // 16) > MOST_BLOCKS:
            raise MediaError(f"{self._path}: pictures of {width}x{height}", "H.264 allows 8192x4320: scale the video down first")
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        aspect = aspect if _NARROWEST <= aspect <= 1 / _NARROWEST else Fraction(1)
        dropped: Counter[str] = Counter(str(track.type) for track in container.streams if track.index != stream.index)
        dropped["chapter"] = len(container.chapters())
        return VideoFacts(
            width, height, float(min(max(rate, _SLOWEST), _FASTEST)), stream.frames, dropped["audio"] > 0,
            (native.width, native.height), 1 / aspect if turn.swap else aspect,
            stream.codec_context.name, native.format.name, turn, dict(+dropped), _said(container.metadata, stream.metadata),
        )  # fmt: skip

    def _stamp(self, native: av.VideoFrame) -> int:
        """Time of a picture in nanoseconds since the first one, strictly rising even if the file's time stamps are not."""
        known = native.pts is not None and native.time_base is not None
        if known:
            self._said_ns = _ns(native.pts or 0, native.time_base)
        if not self._index:
            self._shift_ns, self._begin_ns = -self._said_ns, self._said_ns
        if self._fps:
            return self._index * self._step_ns
        if not known:
            return self._stamp_ns + self._step_ns if self._index else 0
        at, next_ns = self._said_ns + self._shift_ns, self._stamp_ns + self._step_ns
        if self._index and at - self._stamp_ns > _FARTHEST_NS:
            self.closed.append((at - self._stamp_ns) // SECOND)
        elif not self._index or at >= self._stamp_ns + _NEAREST_NS:
            return at
        else:
            self.restamped += 1
            if self._stamp_ns - at < 2 * self._step_ns:
                return self._stamp_ns + _APART_NS
        # The file's clock was set, e.g. where recordings were joined: continue from the last picture.
        self._shift_ns += next_ns - at
        return next_ns

    def _upright(self, native: av.VideoFrame) -> Turn:
        """How to turn this picture upright. Reading a frame's side data keeps the frame in memory until the next garbage collection
        of cycles; pictures are large, so that collection is run here."""
        gc.collect(0)
        self._rotation = native.rotation
        try:
            turn = Turn.of(native)
        except MediaError as problem:
            raise MediaError(f"{self._path}: {problem}", problem.hint) from problem
        return turn.over() if self._upside_down else turn

    def _copy(self, native: av.VideoFrame, buffer: Plane) -> None:
        if native.key_frame or native.rotation != self._rotation:
            self._turn = self._upright(native)
        turn, wanted = self._turn, (self.width, self.height)
        shown = turn.size(native.width, native.height)
        inner = None if even(shown) == wanted else self._size or fitting(shown, *wanted)
        self.rescaled += inner is not None and not self._size
        what = f"frame {self._index} ({native.format.name}, {native.width}x{native.height}) cannot be converted"
        with reading(self._path, what, "convert the video with another tool first"):
            lay(native, turn, buffer, inner)

    def _changes(self) -> Iterator[str]:
        facts = self.facts
        shown = facts.turn.size(*facts.stored)
        if facts.turn != UPRIGHT:
            yield f"the picture was turned upright ({facts.turn})"
        if not self._size and shown != (self.width, self.height):
            yield f"{shown[0]}x{shown[1]} cannot be coded: its last row or column is repeated, {self.width}x{self.height}"
        if self.interlaced:
            yield f"{self.interlaced} interlaced pictures were deinterlaced"
        if self.rescaled:
            yield f"the size changes: {self.rescaled} frames were fitted into {self.width}x{self.height}"
        if facts.audio:
            yield "the audio track is dropped: Lykta keeps no sound"
        kinds = [f"{kind} ({number})" for kind, number in sorted(facts.dropped.items()) if kind != "audio"]
        if kinds or facts.tags:
            yield "not carried over: " + ", ".join([*kinds, *facts.tags])

    def _faults(self) -> Iterator[str]:
        faults = self.faults
        if faults["damaged"]:
            yield f"damaged: {faults['damaged']} frames were decoded from damaged data and are blacked out"
        if faults["undecodable"]:
            yield f"{faults['undecodable']} packets gave no picture (damaged, or hidden reference pictures)"
        if faults["missing"]:
            early_s = (self.facts.frames - 1) / self.facts.fps - (self._said_ns - self._begin_ns) / SECOND
            early = early_s > 2 / self.facts.fps
            why = f"the file ends early, by {early_s:.1f} s" if early else "frames were dropped when it was made"
            yield f"{why}: {faults['missing']} of {self.facts.frames} frames are not in it"
        if faults["restamped"]:
            yield f"{faults['restamped']} time stamps did not rise and were set"
        if self.closed:
            hours = ", ".join(f"{seconds / 3600:.1f}" for seconds in self.closed[:3])
            yield f"the clock jumps {len(self.closed)} times by more than {_FARTHEST_NS // SECOND // 3600} h ({hours} h): left out"


# Number of tags, and letters of a tag's name, that are listed at most.
_NAMES, _NAME = 50, 60
# Technical tags that programs write; all other tags are descriptive.
_TECHNICAL = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "software", "handler_name", "duration",
    "variant_bitrate", "language", "timecode", "vendor_id", "rotate",
}  # fmt: skip


def _ns(stamp: int, base: Fraction | None) -> int:
    """A time of the file in nanoseconds, without the rounding of a float."""
    return stamp * SECOND * base.numerator // base.denominator if base else 0


def plain(text: str) -> str:
    """Text from a file, with control characters replaced: they could control a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _said(*tags: dict[str, str]) -> tuple[str, ...]:
    """Names of the descriptive tags. Their values are not shown: they may be names of people or places."""
    names = sorted({plain(name[:_NAME]).lower() for group in tags for name in group} - _TECHNICAL)
    return (*names[:_NAMES], *(["…"] if len(names) > _NAMES else []))


def facts(path: Path) -> VideoFacts:
    """The properties of a video file; `MediaError` if it cannot be read."""
    video = VideoFile(path)
    video.open()
    video.close()
    return video.facts


def still(path: Path, share: float) -> bytes:
    """One picture of a masked clip as JPEG, for display. share: position in the clip, 0..1 of its length."""
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
