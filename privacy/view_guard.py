"""The view guard: is this still the picture that was assessed? Covered, defocused, blinded and moved are told apart (R06).

What a place keeps is its edges: kerb, roof, windows. The guard remembers where edges lasted and in which direction they ran,
and compares tile by tile how far the present gradients point the same way (normalised correlation of gradient fields, as in
Hager and Belhumeur's illumination-insensitive alignment, 1998). Whatever leaves a part of them in place, a bus of ten
minutes before four fifths of the picture, is an obstruction and no move. What is masked and what is dark is not judged.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from privacy.errors import RecordError
from privacy.frames import Plane
from privacy.regions import Region
from privacy.tracking import SECOND

Kind = Literal["", "covered", "defocused", "blinded", "moved"]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

TILE: Final = 8
# How long a finding must last; a partial cover, longer than any bus stays.
PATIENCE_NS: Final[dict[str, int]] = {
    "moved": 120 * SECOND, "covered": 30 * SECOND, "partly": 900 * SECOND, "defocused": 60 * SECOND, "blinded": 30 * SECOND,
}  # fmt: skip
HEAL_NS = 60 * SECOND
LEARN_NS = 60 * SECOND
_MEMORY_S = 600.0
_EDGE = 10.0  # levels a pixel, at a luma of 100
_LASTING = 0.5  # length of the mean direction: 1 is an edge that was always there and never turned
_LIT = 40  # mean luma of a tile that can be judged
_AGREES = 0.35  # correlation of a tile's gradients with those remembered
_WHOLE = 0.6
_NONE = 0.12  # what agrees by chance
_EXPLAINS = 0.5  # a shift that brings so many tiles into line is what happened
_SHAKE = 3.2  # pixels of the small picture: two hundredths of its width
_FEWEST = 6  # tiles


@dataclass(frozen=True, slots=True)
class Standing:
    """What the guard takes the view for. hides: everything must be masked while it lasts."""

    kind: Kind = ""
    hides: bool = False


@dataclass(frozen=True)
class _Look:
    """One picture compared with the memory. Shares are of the tiles that can be judged; shift is in pixels, 0 for none."""

    agree: float
    shift: float
    flat: float
    edges: float
    alike: float
    bright: float


class ViewGuard:
    """Fed about twice a second with the raw picture's luma at small size. Not thread-safe.

    reference   what `to_bytes` gave before a restart, or empty
    """

    def __init__(self, reference: bytes = b"") -> None:
        self._field: Floats | None = _unpack(reference) if reference else None
        self._known_ns = LEARN_NS if reference else 0
        self._coarse: Floats | None = None
        self._edges = 0.0
        self._last_ns: int | None = None
        self._began: dict[str, int] = {}
        self._good_ns: int | None = None
        self.standing = Standing()

    def look(self, luma: Plane, hidden: tuple[Region, ...], size: tuple[int, int], mono_ns: int) -> Standing:
        """The standing after this picture.

        luma     (rows, columns) uint8, long side 160
        hidden   what is masked in it, in pixels of a frame of `size` (width, height)
        """
        passed = min(5 * SECOND, mono_ns - self._last_ns) if self._last_ns is not None else 0
        self._last_ns = mono_ns
        field, strength = _gradients(luma)
        if self._field is None or self._field.shape[:2] != luma.shape:
            self._field, self._known_ns = field.copy(), 0
            self._coarse = None
        seen = ~_under(hidden, size, luma.shape)
        lit = _tiles(luma.astype(np.float32)) >= _LIT
        found = self._compare(luma, field, strength, seen, lit)
        if self.established:
            self._judge(found, mono_ns)
        # Not from a view that is half hidden, and not in the dark: the memory would fade behind a bus and over a night.
        if not self._began and not self.standing.kind and found.agree > _WHOLE and lit.mean() > 0.5:
            self._learn(luma, field, strength, seen, passed)
        return self.standing

    def confirm(self) -> None:
        """The present view is the right one: forget the old edges and learn these."""
        self._field, self._coarse, self._known_ns, self._began = None, None, 0, {}
        self.standing = Standing()

    @property
    def established(self) -> bool:
        """Whether there is something to compare with."""
        return self._known_ns >= LEARN_NS

    def to_bytes(self) -> bytes:
        """Where edges last and in which of eight directions they run. No picture: nothing in it has a brightness."""
        if self._field is None:
            return b""
        angle = np.round(np.arctan2(self._field[..., 1], self._field[..., 0]) / (np.pi / 4)).astype(np.int8) % 8 + 1
        kept = np.where(np.linalg.norm(self._field, axis=2) > _LASTING, angle, 0).astype(np.uint8)
        return bytes(kept.shape[::-1]) + zlib.compress(kept.tobytes())

    def _compare(self, luma: Plane, field: Floats, strength: Floats, seen: Bools, lit: Bools) -> _Look:
        assert self._field is not None
        lasting = (np.linalg.norm(self._field, axis=2) > _LASTING) & seen
        wanted = (_tiles(lasting.astype(np.float32)) * TILE * TILE >= 4) & (_tiles(seen.astype(np.float32)) > 0.5)
        judged = wanted & lit
        if judged.sum() < _FEWEST:
            return _Look(1.0, 0.0, 0.0, 1.0, 1.0, float((luma >= 235).mean()))
        agree, shift = self._align(field, lasting, judged)
        present = _tiles((strength > _EDGE).astype(np.float32)) * TILE * TILE
        return _Look(
            agree=agree,
            shift=shift,
            flat=float((present < 2)[judged].mean()),
            edges=float((strength > _EDGE)[seen].mean()) / max(self._edges, 1e-3) if self._edges else 1.0,
            alike=self._likeness(luma),
            bright=float((luma >= 235).mean()),
        )

    def _align(self, field: Floats, lasting: Bools, judged: Bools) -> tuple[float, float]:
        """How far the edges agree, and by how much the whole picture is shifted if that explains it (phase correlation)."""
        assert self._field is not None
        here = min(self._agreement(field, lasting & along, judged) for along in _upright(self._field))
        if here >= _WHOLE:
            return here, 0.0
        now, then = (np.linalg.norm(one, axis=2).astype(np.float32) for one in (field, self._field))
        (across, down), _ = cv2.phaseCorrelate(then, now, cv2.createHanningWindow(now.shape[::-1], cv2.CV_32F))
        moved = np.roll(field, (-round(down), -round(across)), axis=(0, 1))
        there = min(self._agreement(moved, lasting & along, judged) for along in _upright(self._field))
        shift = float(np.hypot(across, down))
        if there < _EXPLAINS or there <= here:
            return here, 0.0
        return (there, 0.0) if shift <= _SHAKE else (here, shift)

    def _agreement(self, field: Floats, lasting: Bools, judged: Bools) -> float:
        """Share of tiles whose gradients point as remembered, among those that remember some; 1 where too few do."""
        assert self._field is not None
        among = _tiles(lasting.astype(np.float32))
        tiles = judged & (among * TILE * TILE >= 3)
        if tiles.sum() < _FEWEST:
            return 1.0
        same = _tiles((field * self._field).sum(axis=2) * lasting) / (among + 1e-6)
        return float((same > _AGREES)[tiles].mean())

    def _likeness(self, luma: Plane) -> float:
        """Correlation of the coarse picture with the one remembered; 0 if there is none (after a restart)."""
        if self._coarse is None:
            return 0.0
        now = _coarse(luma)
        a, b = now - now.mean(), self._coarse - self._coarse.mean()
        return float((a * b).sum() / max(1e-6, float(np.linalg.norm(a) * np.linalg.norm(b))))

    def _judge(self, look: _Look, at_ns: int) -> None:
        kind = _kind(look)
        self._began = {kind: self._began.get(kind, at_ns)} if kind else {}
        if kind and at_ns - self._began[kind] >= PATIENCE_NS[kind]:
            self._good_ns = None
            name: Kind = "covered" if kind == "partly" else kind  # type: ignore[assignment]
            if self.standing.kind not in (name, "moved"):
                self.standing = Standing(name, kind != "partly")
        elif not kind and self.standing.kind not in ("", "moved"):
            self._good_ns = self._good_ns or at_ns
            if at_ns - self._good_ns >= HEAL_NS:
                self.standing, self._good_ns = Standing(), None

    def _learn(self, luma: Plane, field: Floats, strength: Floats, seen: Bools, passed: int) -> None:
        assert self._field is not None
        self._known_ns += passed
        seconds = passed / SECOND
        rate = np.float32(seconds / min(_MEMORY_S, max(self._known_ns / SECOND, seconds) + 1e-6)) if seconds else np.float32(0)
        self._field += (field - self._field) * (seen[..., None] * rate)
        self._edges += (float((strength > _EDGE)[seen].mean()) - self._edges) * float(rate) if seen.any() else 0.0
        now = _coarse(luma)
        self._coarse = now if self._coarse is None else self._coarse + (now - self._coarse) * rate


def _kind(look: _Look) -> str:
    """What one picture looks like; empty if all is well."""
    if look.bright >= 0.6:
        return "blinded"
    if look.agree < _NONE and look.edges < 0.35:
        return "defocused" if look.alike > 0.6 else "covered"
    if look.agree < _NONE or look.shift:
        return "moved"
    return "partly" if look.flat >= 0.1 else ""


def _upright(field: Floats) -> tuple[Bools, Bools]:
    """Edges that stand and edges that lie. Judged apart: after a turn to the side kerb and roof still lie where they lay."""
    standing = np.abs(field[..., 0]) > np.abs(field[..., 1])
    return standing, ~standing


def _gradients(luma: Plane) -> tuple[Floats, Floats]:
    """Unit gradients (rows, columns, 2), 0 where there is no edge, and their strength for a luma of 100."""
    picture = cv2.GaussianBlur(luma, (3, 3), 0).astype(np.float32)
    x, y = cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=0.125)
    local = cv2.blur(picture, (15, 15)) + 8.0
    size = np.sqrt(x * x + y * y)
    strength = np.asarray(size / local * 100.0, np.float32)
    unit = np.where(strength > _EDGE, 1.0 / np.maximum(size, 1e-6), 0.0).astype(np.float32)
    return np.dstack((x * unit, y * unit)), strength


def _under(hidden: tuple[Region, ...], size: tuple[int, int], shape: tuple[int, ...]) -> Bools:
    """Pixels of the small picture under what is masked, and next to it."""
    covered = np.zeros(shape, bool)
    across, down = shape[1] / size[0], shape[0] / size[1]
    for region in hidden:
        top, bottom = max(0, int(region.top * down) - 2), int(np.ceil(region.bottom * down)) + 2
        covered[top:bottom, max(0, int(region.left * across) - 2) : int(np.ceil(region.right * across)) + 2] = True
    return covered


def _tiles(values: Floats) -> Floats:
    """Means over tiles of 8x8 pixels; what is left at the right and below is not judged."""
    rows, columns = (side // TILE for side in values.shape)
    cut = values[: rows * TILE, : columns * TILE]
    return np.asarray(cv2.resize(cut, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)


def _coarse(luma: Plane) -> Floats:
    return np.asarray(cv2.resize(luma, (16, 9), interpolation=cv2.INTER_AREA), np.float32)


def _unpack(reference: bytes) -> Floats:
    columns, rows = reference[:2]
    try:
        kept = np.frombuffer(zlib.decompress(reference[2:]), np.uint8).reshape(rows, columns)
    except (zlib.error, ValueError) as problem:
        raise RecordError(f"view reference: torn: {problem}", "confirm the view again: lykta view confirm") from problem
    angle = (kept.astype(np.float32) - 1) * np.float32(np.pi / 4)
    return np.asarray(np.dstack((np.cos(angle), np.sin(angle))) * (kept > 0)[..., None], np.float32)
