"""Proves that a clip was masked: every frame is filled where its mask record says so.

Each mask is drawn again from header and records. Pixels more than 8 pixels inside the border of a tone must have that tone
within 12 levels; nearer to the border the coder mixes them with their neighbours. Two rules, for luma and each chroma plane:

 1. in each frame and tone, the 99.9th percentile of the deviation is at most 12 levels; 8 pixels may always deviate more;
 2. in no square of 16x16 luma pixels (8x8 of chroma), at any position, more than a sixth of the pixels deviates by more. The
    first rule alone, over a whole frame, would miss a small hole in a large mask.

Calibrated at 1280x720, 15 fps and 1 Mbit/s (libx264 ultrafast), 250 to 400 frames each of pedestrians: the percentile deviates by
at most 6 levels by day, 8 in a shaking picture and under `strict`, 11 in simulated night rain; in the worst square 12 of 256 luma
pixels deviate, and 4 of 64 of chroma. Holes in a person's mask in a single frame, which show 8x8
to 32x32 pixels of the picture behind, were all found (264 of 264), of 6x6 one in nine; at the pixel density of a bus stop a
head is 24x24. A shaking picture at only 0.3 Mbit/s deviates by up to 30 levels: such a clip cannot be distinguished from a
tampered one and is refused.

Not found: a picture hidden in the fill with a contrast below 12 levels, and a hole that shows something as dark as the fill.
The outer 8 pixels of a mask are not checked, so nothing of a mask narrower than 17. `Proof.checked` is the share checked.
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
OUTLIER_IN = 1000
"""One pixel in this many may deviate by more than `LEVELS`: the 99.9th percentile."""
LEAST_OUTLIERS = 8
"""This many may always deviate: otherwise one pixel would decide about a small mask (a demo clip was refused for one of 775)."""
SQUARE, LARGEST_HOLE = 16, 1 / 6
LONGEST = 1 << 20
"""Most bytes of one record."""
MOST_FRAMES = 100_000
Line = TypeVar("Line", MaskHeader, MaskRecord)
_UNUSABLE = "the clip must not be used"
_BORDER = np.ones((2 * INSIDE + 1, 2 * INSIDE + 1), np.uint8)


@dataclass(frozen=True)
class RecordsSummary:
    """Header and number of the checked mask records. header: None if a torn clip has none on the disk."""

    header: MaskHeader | None
    records: int


@dataclass(frozen=True)
class Proof:
    """What was checked.

    frames      decoded pictures that agree with their mask record
    unproved    further pictures without a mask record (torn clips only)
    records     mask records; a torn clip may have more of them than pictures
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
class _FrameResult:
    """The result for one picture.

    masked, checked   pixels
    deviation         the largest 99.9th percentile of a tone, levels
    most, place       the largest deviation of a pixel, levels, and its position x, y in luma pixels
    holds             whether both rules hold
    """

    masked: int
    checked: int
    deviation: int
    most: int
    place: tuple[int, int]
    holds: bool


def check_masks(masks: IO[bytes], manifest: Manifest) -> RecordsSummary:
    """Check the mask records: one a frame, in order, as many as the manifest says; `SealError` otherwise.

    In a torn clip the last record may be cut and the header may be missing, and the manifest has no counts.
    masks: the decrypted masks.age, seekable.
    """
    torn = manifest.state == "torn"
    header = _header(masks, torn)
    if header is None:
        return RecordsSummary(None, 0)
    _check_header(header, manifest)
    count, full, before = 0, Counter[str](), None
    for record in _records(masks, torn):
        if before and (record.frame <= before.frame or record.mono_ms <= before.mono_ms):
            raise SealError(f"masks: frame {record.frame} does not come after frame {before.frame} in number and time", _UNUSABLE)
        _check_boxes(record, header)
        count, before = count + 1, record
        if count > MOST_FRAMES:
            raise SealError(f"masks: more than {MOST_FRAMES} records", _UNUSABLE)
        full.update([record.cause] if record.cause else [])
    if not torn and count != manifest.frames:
        raise SealError(f"masks: {count} records for {manifest.frames} frames", _UNUSABLE)
    if not torn and full != manifest.full:
        raise SealError(f"masks: fully masked frames differ from the manifest (got {dict(full)})", _UNUSABLE)
    return RecordsSummary(header, count)


def check_pictures(
    video: IO[bytes], masks: IO[bytes], summary: RecordsSummary, manifest: Manifest, progress: Callable[[int], None]
) -> Proof:
    """Compare every decoded picture with its mask record; `SealError` names the first frame that breaks a rule.

    progress   called with the number of frames checked so far
    """
    torn, header, sums = manifest.state == "torn", summary.header, _Sums()
    outside = outside_of(header) if header else np.empty((0, 0), np.uint8)
    records = _records(masks, torn) if header else iter(())
    for planes in pictures(video, manifest.width * manifest.height, torn=torn):
        record = next(records, None)
        if record is None:
            sums.unproved += 1
            if not torn or sums.unproved > MOST_FRAMES:
                raise SealError(f"video: {sums.frames + sums.unproved} pictures for {summary.records} mask records", _UNUSABLE)
            continue
        if planes[0].shape != outside.shape:
            raise SealError(f"video: frame {sums.frames} has another size than its masks", _UNUSABLE)
        _check_picture(planes, tone_map(outside, record), record, sums)
        progress(sums.frames)
    if not torn and (sums.frames != summary.records or sums.unproved):
        raise SealError(f"video: {sums.frames + sums.unproved} pictures for {summary.records} mask records", _UNUSABLE)
    return sums.proof(summary.records)


def _lines(masks: IO[bytes], torn: bool) -> Iterator[bytes]:
    """Complete lines from the beginning, read one at a time. `SealError` if the last is cut, unless the clip is torn."""
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
        raise SealError(f"masks: invalid {of.__name__} {number}: {problem}", _UNUSABLE) from problem


def _check_header(header: MaskHeader, manifest: Manifest) -> None:
    said = (header.width, header.height, header.profile)
    if said != (manifest.width, manifest.height, manifest.profile):
        raise SealError(f"masks: have size and profile {said}, unlike the manifest", _UNUSABLE)
    if hashlib.sha256(outside_of(header).tobytes()).hexdigest() != manifest.zones_sha256:
        raise SealError("masks: view, zones and far line differ from the manifest", _UNUSABLE)


def _check_boxes(record: MaskRecord, header: MaskHeader) -> None:
    """`SealError` if a box reaches outside the picture: it would claim a mask that is not drawn."""
    for part, left, top, right, bottom in record.boxes:
        if not (0 <= left <= right <= header.width and 0 <= top <= bottom <= header.height):
            raise SealError(f"masks: frame {record.frame}: a {part} lies outside the picture", _UNUSABLE)


def _check_picture(planes: Planes, tones: Plane, record: MaskRecord, sums: _Sums) -> None:
    result = _compare(planes, tones)
    if not result.holds:
        raise SealError(
            f"frame {sums.frames} (record {record.frame}): masked pixels do not hold the fill: "
            f"off by {result.most} of at most {LEVELS} levels near {result.place[0]},{result.place[1]}",
            _UNUSABLE,
        )
    sums.frames += 1
    sums.pixels += tones.size
    sums.masked += result.masked
    sums.checked += result.checked
    sums.worst = max(sums.worst, result.deviation)
    sums.full.update([record.cause] if record.cause else [])


def _compare(planes: Planes, tones: Plane) -> _FrameResult:
    """Compare one picture with its tone map by both rules."""
    # Inside: the smallest and the largest tone within 8 pixels are equal. OpenCV ignores what is beyond the picture's edge.
    same = cv2.compare(cv2.erode(tones, _BORDER), cv2.dilate(tones, _BORDER), cv2.CMP_EQ)
    inside = np.asarray(cv2.bitwise_and(tones, same), np.uint8)
    small = np.ascontiguousarray(inside[::2, ::2])
    holds, deviation, most, place = True, 0, 0, (0, 0)
    for index, (plane, where) in enumerate(zip(planes, (inside, small, small), strict=True)):
        off = _deviation(plane, where, index)
        _, peak, _, spot = cv2.minMaxLoc(off)
        step = 2 if index else 1
        if peak > most:
            most, place = int(peak), (spot[0] * step, spot[1] * step)
        deviation = max(deviation, _percentile(off, where))
        holds = holds and deviation <= LEVELS and not (peak > LEVELS and _has_hole(off, SQUARE // step))
    return _FrameResult(cv2.countNonZero(tones), cv2.countNonZero(inside), deviation, most, place, holds)


def _deviation(plane: Plane, where: Plane, index: int) -> Plane:
    """Each pixel's deviation from its tone, levels; 0 where nothing is checked. index: of the plane, 0 to 2."""
    levels = np.zeros(256, np.uint8)
    levels[1 : len(TONES) + 1] = [tone[index] for tone in TONES]
    off = cv2.absdiff(plane, cv2.LUT(where, levels))
    return np.asarray(cv2.bitwise_and(off, off, mask=where), np.uint8)


def _percentile(off: Plane, where: Plane) -> int:
    """The largest 99.9th percentile of any tone, levels; rounded up to a value that occurs, not interpolated."""
    worst = 0
    for tone in range(1, len(TONES) + 1):
        counts = cv2.calcHist([off], [0], cv2.inRange(where, (tone,), (tone,)), [256], [0, 256])
        total = int(counts.sum())
        if total:
            worst = max(worst, int(np.searchsorted(np.cumsum(counts), total - max((total - 1) // OUTLIER_IN, LEAST_OUTLIERS))))
    return worst


def _has_hole(off: Plane, side: int) -> bool:
    """Whether in any square of `side` pixels a larger share than `LARGEST_HOLE` deviates by more than `LEVELS`."""
    bad = cv2.threshold(off, LEVELS, 1, cv2.THRESH_BINARY)[1]
    found = cv2.boxFilter(bad, cv2.CV_16U, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return bool(found.max() > LARGEST_HOLE * side * side)
