"""The proof that a clip was masked: what its records say was painted is painted, in every frame.

Each mask is drawn again from header and records. 8 pixels inside the border of its tone a pixel must hold that tone within 12
levels: the coder mixes the border with what lies beside it, and not much else. Two rules, for luma and each chroma plane:

 1. the 99.9th percentile of each tone of each frame is off by at most 12 levels, single pixels of small masks apart;
 2. in no square of 16x16 luma pixels (8x8 of chroma), wherever it lies, more than a sixth of the pixels is off by more. Pooled
    over a frame the first rule would let a small hole in a large mask pass.

Calibrated at 1280x720, 15 fps and 1 Mbit/s (libx264 ultrafast), 250 to 400 frames each of pedestrians: the percentile is off by at
most 6 levels by day, 8 in a shaking picture and under `strict`, 11 in simulated night rain; the densest square has 12 of 256 luma
pixels off and 4 of 64 of chroma. Of holes of one frame in a person's mask, 8x8 to 32x32 pixels of the picture behind it, all were
found (264 of 264), of 6x6 one in nine; a head at the density of a bus stop is 24x24. A shaking picture starved at 0.3 Mbit/s is
off by up to 30 levels: such a clip cannot be told from a tampered one and is refused.

Not found: a picture woven into the fill with less than 12 levels of contrast, or a hole that shows what is as dark as the fill;
and nothing is known of the outer 8 pixels of a mask, hence of one that is narrower than 17. `Proof.checked` says how much is left.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TypeVar

import cv2
import numpy as np

from central.clips.pictures import Planes, pictures
from privacy.errors import RecordError, SealError
from privacy.foreign import decode
from privacy.masking.frames import Plane
from privacy.masking.mask_record import TONES, MaskHeader, MaskRecord, outside_of, tone_map
from privacy.records.manifest import Manifest

INSIDE = 8
LEVELS = 12
ABOVE = 1000
"""One pixel in so many may be off by more than `LEVELS`: the 99.9th percentile."""
FEW = 8
"""But so many always: a mask of some hundred pixels would be judged by its worst one (a demo clip was refused for one of 775)."""
SQUARE, HOLE = 16, 1 / 6
LONGEST = 1 << 20
"""Bytes of one record, at most."""
MOST_FRAMES = 100_000
Line = TypeVar("Line", MaskHeader, MaskRecord)
_UNUSABLE = "the clip must not be used"
_BORDER = np.ones((2 * INSIDE + 1, 2 * INSIDE + 1), np.uint8)


@dataclass(frozen=True)
class Told:
    """What the records say before any picture is seen; `header` is None where nothing of a torn clip's reached the disk."""

    header: MaskHeader | None
    records: int


@dataclass(frozen=True)
class Proof:
    """What was checked.

    frames      decoded pictures that hold their record's masks; `unproved` more have no record (torn clips only)
    records     mask records; those of a torn clip may be more than its pictures
    full        fully masked frames by cause
    masked      mean share of a picture that is masked, 0..1
    checked     share of all masked pixels that lie inside the border and were checked, 0..1
    worst       largest deviation at the 99.9th percentile of a tone in any frame, levels
    """

    frames: int
    records: int
    unproved: int
    full: dict[str, int]
    masked: float
    checked: float
    worst: int


@dataclass
class _Sums:
    """Running sums over pictures; masked and checked in pixels."""

    frames: int = 0
    unproved: int = 0
    pixels: int = 0
    masked: int = 0
    checked: int = 0
    worst: int = 0
    full: Counter[str] = field(default_factory=Counter)

    def proof(self, records: int) -> Proof:
        masked, checked = self.masked / max(1, self.pixels), self.checked / max(1, self.masked)
        return Proof(self.frames, records, self.unproved, dict(self.full), masked, checked, self.worst)


@dataclass(frozen=True)
class _Look:
    """One picture: pixels masked and checked, deviation at the percentile and at the worst pixel, where that is, verdict."""

    masked: int
    checked: int
    deviation: int
    most: int
    place: tuple[int, int]
    holds: bool


def check_masks(masks: IO[bytes], manifest: Manifest) -> Told:
    """Header and records, one a frame, in order, as the manifest counts them; `SealError` otherwise.

    A torn clip's last record may be cut, its header may be missing, and its manifest counts nothing.
    """
    torn = manifest.state == "torn"
    header = _header(masks, torn)
    if header is None:
        return Told(None, 0)
    _check_header(header, manifest)
    count, full, before = 0, Counter[str](), None
    for record in _records(masks, torn):
        if before and (record.frame <= before.frame or record.mono_ms <= before.mono_ms):
            raise SealError(f"masks: frame {record.frame} stands after frame {before.frame}, or not after its time", _UNUSABLE)
        _check_boxes(record, header)
        count, before = count + 1, record
        if count > MOST_FRAMES:
            raise SealError(f"masks: more than {MOST_FRAMES} records", _UNUSABLE)
        full.update([record.cause] if record.cause else [])
    if not torn and count != manifest.frames:
        raise SealError(f"masks: {count} records for {manifest.frames} frames", _UNUSABLE)
    if not torn and full != manifest.full:
        raise SealError(f"masks: fully masked frames differ from the manifest (got {dict(full)})", _UNUSABLE)
    return Told(header, count)


def check_pictures(video: IO[bytes], masks: IO[bytes], told: Told, manifest: Manifest, progress: Callable[[int], None]) -> Proof:
    """Every decoded picture against its record; `SealError` names the first frame that does not hold its masks."""
    torn, header, sums = manifest.state == "torn", told.header, _Sums()
    outside = outside_of(header) if header else np.empty((0, 0), np.uint8)
    records = _records(masks, torn) if header else iter(())
    for planes in pictures(video, manifest.width * manifest.height, torn=torn):
        record = next(records, None)
        if record is None:
            sums.unproved += 1
            if not torn or sums.unproved > MOST_FRAMES:
                raise SealError(f"video: {sums.frames + sums.unproved} pictures for {told.records} mask records", _UNUSABLE)
            continue
        if planes[0].shape != outside.shape:
            raise SealError(f"video: frame {sums.frames} is of another size than its masks", _UNUSABLE)
        _check_picture(planes, tone_map(outside, record), record, sums)
        progress(sums.frames)
    if not torn and (sums.frames != told.records or sums.unproved):
        raise SealError(f"video: {sums.frames + sums.unproved} pictures for {told.records} mask records", _UNUSABLE)
    return sums.proof(told.records)


def _lines(masks: IO[bytes], torn: bool) -> Iterator[bytes]:
    """Whole lines from the beginning, never all of them at once."""
    masks.seek(0)
    while line := masks.readline(LONGEST):
        if line.endswith(b"\n"):
            yield line
        elif torn:
            return
        else:
            raise SealError("masks: the last record is cut", _UNUSABLE)


def _header(masks: IO[bytes], torn: bool) -> MaskHeader | None:
    line = next(_lines(masks, torn), None)
    if line is None and torn:
        return None
    return _decoded(line or b"", MaskHeader, 0)


def _records(masks: IO[bytes], torn: bool) -> Iterator[MaskRecord]:
    for number, line in enumerate(islice(_lines(masks, torn), 1, None)):
        yield _decoded(line, MaskRecord, number)


def _decoded(line: bytes, of: type[Line], number: int) -> Line:
    try:
        return decode(line, of, "line", most=LONGEST)
    except RecordError as problem:
        raise SealError(f"masks: not mask records: {of.__name__} {number}: {problem}", _UNUSABLE) from problem


def _check_header(header: MaskHeader, manifest: Manifest) -> None:
    said = (header.width, header.height, header.profile)
    if said != (manifest.width, manifest.height, manifest.profile):
        raise SealError(f"masks: are of {said}, the manifest says otherwise", _UNUSABLE)
    if hashlib.sha256(outside_of(header).tobytes()).hexdigest() != manifest.zones_sha256:
        raise SealError("masks: view, zones and far line are not those of the manifest", _UNUSABLE)


def _check_boxes(record: MaskRecord, header: MaskHeader) -> None:
    """A box that sticks out would claim a mask that nobody draws."""
    for part, left, top, right, bottom in record.boxes:
        if not (0 <= left <= right <= header.width and 0 <= top <= bottom <= header.height):
            raise SealError(f"masks: frame {record.frame}: a {part} lies outside the picture", _UNUSABLE)


def _check_picture(planes: Planes, tones: Plane, record: MaskRecord, sums: _Sums) -> None:
    look = _look(planes, tones)
    if not look.holds:
        raise SealError(
            f"frame {sums.frames} (record {record.frame}): masked pixels do not hold the fill: "
            f"off by {look.most} of at most {LEVELS} levels near {look.place[0]},{look.place[1]}",
            _UNUSABLE,
        )
    sums.frames += 1
    sums.pixels += tones.size
    sums.masked += look.masked
    sums.checked += look.checked
    sums.worst = max(sums.worst, look.deviation)
    sums.full.update([record.cause] if record.cause else [])


def _look(planes: Planes, tones: Plane) -> _Look:
    """One picture against its tone map, both rules."""
    # Where the least and the largest tone within 8 pixels are the same; OpenCV takes no border at the picture's edge.
    same = cv2.compare(cv2.erode(tones, _BORDER), cv2.dilate(tones, _BORDER), cv2.CMP_EQ)
    inside = np.asarray(cv2.bitwise_and(tones, same), np.uint8)
    small = np.ascontiguousarray(inside[::2, ::2])
    holds, deviation, most, place = True, 0, 0, (0, 0)
    for index, (plane, where) in enumerate(zip(planes, (inside, small, small), strict=True)):
        off = _off(plane, where, index)
        _, peak, _, spot = cv2.minMaxLoc(off)
        step = 2 if index else 1
        if peak > most:
            most, place = int(peak), (spot[0] * step, spot[1] * step)
        deviation = max(deviation, _percentile(off, where))
        holds = holds and deviation <= LEVELS and not (peak > LEVELS and _hole(off, SQUARE // step))
    return _Look(cv2.countNonZero(tones), cv2.countNonZero(inside), deviation, most, place, holds)


def _off(plane: Plane, where: Plane, index: int) -> Plane:
    """Levels between each pixel and its tone; 0 where nothing is checked."""
    levels = np.zeros(256, np.uint8)
    levels[1 : len(TONES) + 1] = [tone[index] for tone in TONES]
    off = cv2.absdiff(plane, cv2.LUT(where, levels))
    return np.asarray(cv2.bitwise_and(off, off, mask=where), np.uint8)


def _percentile(off: Plane, where: Plane) -> int:
    """The largest 99.9th percentile of any tone, levels; the next higher value, never one in between."""
    worst = 0
    for tone in range(1, len(TONES) + 1):
        counts = cv2.calcHist([off], [0], cv2.inRange(where, (tone,), (tone,)), [256], [0, 256])
        total = int(counts.sum())
        if total:
            worst = max(worst, int(np.searchsorted(np.cumsum(counts), total - max((total - 1) // ABOVE, FEW))))
    return worst


def _hole(off: Plane, side: int) -> bool:
    """Whether in some square of `side` pixels more than `HOLE` of them are off."""
    bad = cv2.threshold(off, LEVELS, 1, cv2.THRESH_BINARY)[1]
    found = cv2.boxFilter(bad, cv2.CV_16U, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return bool(found.max() > HOLE * side * side)
