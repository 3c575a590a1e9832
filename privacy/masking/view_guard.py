"""The view guard: checks whether the camera still shows the view that was assessed, and distinguishes covered, defocused, blinded
and moved (R06).

A scene keeps its edges: kerb, roof, windows. The guard stores where lasting edges are and their direction, and compares tile by
tile how far the present gradients have the same direction (normalised correlation of gradient fields, as in Hager and Belhumeur's
illumination-insensitive alignment, 1998). If a part of the edges is still in place, e.g. while a bus stands for ten minutes in
front of four fifths of the picture, it is an obstruction and not a move. Masked and dark tiles are not evaluated: they count
neither for a finding nor against one, so that neither a passing bus nor a night ends a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from privacy.masking.edge_fields import (
    EDGE,
    TILE,
    Bools,
    Floats,
    gradients,
    lasting_edges,
    length,
    masked_pixels,
    pack,
    tile_counts,
    tile_means,
    turned,
    unpack,
)
from privacy.masking.frames import Plane
from privacy.masking.regions import Region
from privacy.masking.tracking import SECOND

Kind = Literal["", "covered", "defocused", "blinded", "moved"]
# How long a finding must last. For a partial cover ("partly") that is longer than any bus stays.
PATIENCE_NS: Final[dict[str, int]] = {
    "moved": 120 * SECOND, "covered": 30 * SECOND, "partly": 900 * SECOND, "defocused": 60 * SECOND, "blinded": 30 * SECOND,
}  # fmt: skip
HEAL_NS = 60 * SECOND
LEARN_NS = 60 * SECOND
_FORGIVES = 4  # time without the finding counts so many times against it, so that passing lights do not add up
_MEMORY_S = 600.0
_LIT = 40  # mean luma from which a tile can be evaluated
_AGREES = 0.35  # correlation of a tile's gradients with the stored ones
_WHOLE = 0.6
_NONE = 0.12  # share of tiles that agrees by chance
_EXPLAINS = 0.5  # a shift or rotation is accepted if so many tiles then agree
_SHAKE = 3.2  # pixels of the small picture: two hundredths of its width
_FEWEST = 6  # tiles
_PART = 0.1  # share of the tiles with stored edges that a partial cover hides at least
_TURNS = tuple(sign * degrees for degrees in (4, 7, 10, 13, 16, 20) for sign in (1, -1))
_OUTLINED = 0.5  # with an outline in so many of the tiles around it, an object is in the street and not on the lens
_SETTLED_NS = 1800 * SECOND
_SEARCH_EVERY = 20  # looks; the search over all rotations takes the time of ten looks


@dataclass(frozen=True, slots=True)
class ViewState:
    """The guard's finding. kind: "" if the view is unchanged; hides: frames must be fully masked while it lasts."""

    kind: Kind = ""
    hides: bool = False


@dataclass(frozen=True)
class _Look:
    """One picture compared with the stored edges.

    visible   tiles (rows, columns) that are neither masked nor dark
    flat      visible tiles without edges
    foreign   visible tiles with edges that are not the stored ones
    agree     share of the evaluated tiles whose edges agree
    shift     shift or rotation of the picture, pixels; 0 if there is none
    edges     amount of edges relative to the stored one
    alike     correlation of the coarse picture with the stored one
    bright    share of the pixels that are nearly white
    """

    visible: Bools
    flat: Bools
    foreign: Bools
    agree: float = 1.0
    shift: float = 0.0
    edges: float = 1.0
    alike: float = 1.0
    bright: float = 0.0


class _Lasting:
    """For how long a condition has held, in ns for each tile, counted from its first look. Tiles that are not visible keep their
    value."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.ns: npt.NDArray[np.int64] = np.zeros(shape, np.int64)
        self._before = np.zeros(shape, bool)

    def add(self, so: Bools, visible: Bools, passed: int) -> None:
        self.ns += np.where(visible, np.where(so, passed * self._before, -_FORGIVES * passed), 0)
        self._before = np.where(visible, so, self._before)
        np.clip(self.ns, 0, _SETTLED_NS, out=self.ns)


class ViewGuard:
    """Gets the luma of the raw picture at small size about twice a second. Not thread-safe.

    reference   the result of `to_bytes` before a restart, or empty; `RecordError` if it is damaged
    """

    def __init__(self, reference: bytes = b"") -> None:
        self._field: Floats | None = None
        self._edges = 0.0
        if reference:
            self._field, self._edges = unpack(reference)
        self._known_ns = LEARN_NS if reference else 0
        self._last_ns: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Reset all findings."""
        self._coarse: Floats | None = None
        self._lasted: dict[Kind, int] = {}
        self._good_ns, self._looks, self._turn = 0, 0, 0.0
        shape = (0, 0) if self._field is None else tuple(side // TILE for side in self._field.shape[1:])
        self._flat, self._foreign = _Lasting(shape), _Lasting(shape)
        self.state = ViewState()

    def look(self, luma: Plane, hidden: tuple[Region, ...], size: tuple[int, int], mono_ns: int) -> ViewState:
        """Take one picture; returns the present finding.

        luma     (rows, columns) uint8, long side 160
        hidden   the masked regions, in pixels of a frame of `size` (width, height)
        mono_ns  monotonic time of exposure
        """
        passed = min(5 * SECOND, mono_ns - self._last_ns) if self._last_ns is not None else 0
        self._last_ns = mono_ns
        field, strength = gradients(luma)
        seen = ~masked_pixels(hidden, size, luma.shape)
        if self._field is None or self._field.shape[1:] != luma.shape:
            # Without the masked pixels: otherwise the outline of a person who stands there would be stored on the card.
            self._field, self._known_ns = field * seen, 0
            self._begin()
        lit = tile_means(luma.astype(np.float32)) >= _LIT
        found = self._compare(luma, field, strength, seen, lit)
        if found is not None and self.established:
            self._judge(found, passed)
        # Do not learn in the dark or from what may be another view: the stored edges would fade.
        clear = not self._lasted and not self.state.hides and (found is None or found.agree >= _NONE)
        if lit.mean() > 0.5 and (clear or not self.established):
            self._learn(luma, field, strength, seen, passed, found is None or found.agree > _WHOLE)
        return self.state

    def confirm(self) -> None:
        """Accept the present view: delete the stored edges and learn new ones."""
        self._field, self._edges, self._known_ns = None, 0.0, 0
        self._begin()

    @property
    def established(self) -> bool:
        """Whether edges were learned for long enough to compare with."""
        return self._known_ns >= LEARN_NS

    def to_bytes(self) -> bytes:
        """The lasting edges as `edge_fields.pack` writes them; empty if there are none. It is not a picture."""
        return b"" if self._field is None else pack(self._field, self._edges)

    def _compare(self, luma: Plane, field: Floats, strength: Floats, seen: Bools, lit: Bools) -> _Look | None:
        """Compare a picture with the stored edges; None if too little is visible or stored for that."""
        assert self._field is not None
        lasting = lasting_edges(self._field) & seen
        visible = (tile_means(seen.astype(np.float32)) > 0.5) & lit
        edges = strength > EDGE
        bright = float((luma >= 235).mean())
        judged = visible & (tile_counts(lasting) >= 4)
        if judged.sum() < _FEWEST:
            return _Look(visible, visible, visible, bright=bright) if bright >= _WHOLE else None
        agree, shift = self._align(field, lasting, judged)
        present = tile_counts(edges)
        return _Look(
            visible=visible,
            flat=visible & (present < 2),
            foreign=visible & (present >= 4) & ~self._alike(field, lasting, judged),
            agree=agree,
            shift=shift,
            edges=float(edges[seen].mean()) / self._edges if self._edges else 1.0,
            alike=self._likeness(luma),
            bright=bright,
        )

    def _align(self, field: Floats, lasting: Bools, judged: Bools) -> tuple[float, float]:
        """Share of tiles whose edges agree, and the shift or rotation of the whole picture (pixels) if that explains the rest."""
        here = self._agreement(field, lasting, judged)
        if here >= _WHOLE:
            return here, 0.0
        there, shift = self._shifted(field, lasting, judged)
        if there < _EXPLAINS:
            there, shift = self._turned(field, lasting, judged)
        if there < _EXPLAINS or there <= here:
            return here, 0.0
        return (there, 0.0) if shift <= _SHAKE else (here, shift)

    def _shifted(self, field: Floats, lasting: Bools, judged: Bools) -> tuple[float, float]:
        """The agreement after the shift found by phase correlation is undone, and that shift in pixels."""
        assert self._field is not None
        now, then = length(field), length(self._field)
        (across, down), _ = cv2.phaseCorrelate(then, now, cv2.createHanningWindow(now.shape[::-1], cv2.CV_32F))
        moved = np.roll(field, (-round(down), -round(across)), axis=(1, 2))
        return self._agreement(moved, lasting, judged), float(np.hypot(across, down))

    def _turned(self, field: Floats, lasting: Bools, judged: Bools) -> tuple[float, float]:
        """The same for a rotated camera: with the rotation found at the look before, and every `_SEARCH_EVERY` looks with all."""
        self._looks += 1
        turns = _TURNS if self._looks % _SEARCH_EVERY == 1 else (self._turn,) if self._turn else ()
        best, reach = 0.0, max(field.shape) / 2
        for turn in turns:
            agree, _ = self._shifted(turned(field, turn), lasting, judged)
            if agree > best:
                best, self._turn = agree, turn
        if turns and best < _EXPLAINS:
            self._turn = 0.0
        return best, float(np.radians(abs(self._turn))) * reach

    def _agreement(self, field: Floats, lasting: Bools, judged: Bools) -> float:
        """Share of tiles that agree: the smaller one of those for vertical and for horizontal edges."""
        return min(self._share(field, lasting & along, judged) for along in self._orientations())

    def _share(self, field: Floats, lasting: Bools, judged: Bools) -> float:
        """Share of the tiles with stored edges whose gradients have the stored direction; 1 if there are too few such tiles."""
        tiles = judged & (tile_counts(lasting) >= 3)
        if tiles.sum() < _FEWEST:
            return 1.0
        return float(self._alike(field, lasting, tiles)[tiles].mean())

    def _alike(self, field: Floats, lasting: Bools, tiles: Bools) -> Bools:
        assert self._field is not None
        same = tile_means((field[0] * self._field[0] + field[1] * self._field[1]) * lasting)
        return tiles & (same > _AGREES * tile_means(lasting.astype(np.float32)))

    def _orientations(self) -> tuple[Bools, Bools]:
        """Pixels of vertical and of horizontal edges. They are evaluated separately: after a turn to the side, kerb and roof still
        agree."""
        assert self._field is not None
        vertical = np.abs(self._field[0]) > np.abs(self._field[1])
        return vertical, ~vertical

    def _likeness(self, luma: Plane) -> float:
        """Correlation of the coarse picture with the stored one; 0 if there is none (after a restart)."""
        if self._coarse is None:
            return 0.0
        now = _coarse(luma)
        a, b = now - now.mean(), self._coarse - self._coarse.mean()
        return float((a * b).sum() / max(1e-6, float(np.linalg.norm(a) * np.linalg.norm(b))))

    def _judge(self, look: _Look, passed: int) -> None:
        kind = _kind(look)
        for other in [other for other in self._lasted if other != kind]:
            self._lasted[other] -= _FORGIVES * passed
            if self._lasted[other] <= 0:
                del self._lasted[other]
        if kind:
            self._lasted[kind] = self._lasted[kind] + passed if kind in self._lasted else 0
        else:
            self._flat.add(look.flat, look.visible, passed)
            self._foreign.add(look.foreign, look.visible, passed)
        partly = not kind and self._partly(look)
        self._good_ns = 0 if kind or partly else self._good_ns + passed
        if kind and self._lasted[kind] >= PATIENCE_NS[kind]:
            self._take(kind, True)
        elif partly:
            self._take("covered", False)
        elif self._good_ns >= HEAL_NS and self.state.kind != "moved":
            self.state = ViewState()

    def _take(self, kind: Kind, hides: bool) -> None:
        """Set the finding; "moved" stays until the view is confirmed."""
        if self.state.kind != "moved":
            self.state = ViewState(kind, hides)

    def _partly(self, look: _Look) -> bool:
        """Whether a connected area has lost its edges for long and has no outline: a truck has an outline, a cover on the lens has
        none."""
        lost = (self._flat.ns >= PATIENCE_NS["partly"]) & ~(look.visible & ~look.flat)
        edged = self._edge_tiles()
        least = _PART * max(_FEWEST, int(edged.sum()))
        if (lost & edged).sum() < least:
            return False
        count, areas = cv2.connectedComponents(lost.astype(np.uint8), connectivity=4)
        grown = (areas == area for area in range(1, count))
        return any((area & edged).sum() >= least and self._outlined(area & lost, lost) < _OUTLINED for area in grown)

    def _outlined(self, area: Bools, lost: Bools) -> float:
        """Share of the tiles around an area that have shown other edges than the stored ones for half the time."""
        ring = (cv2.dilate(area.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~lost
        return float((self._foreign.ns[ring] >= PATIENCE_NS["partly"] // 2).mean()) if ring.any() else 0.0

    def _edge_tiles(self) -> Bools:
        """Tiles with lasting edges."""
        assert self._field is not None
        return np.asarray(tile_counts(lasting_edges(self._field)) >= 4)

    def _learn(self, luma: Plane, field: Floats, strength: Floats, seen: Bools, passed: int, whole: bool) -> None:
        """Update the running means. New content of a tile is learned after half an hour, which is longer than any bus stays; a
        cover is never learned."""
        assert self._field is not None
        self._known_ns += passed
        seconds = passed / SECOND
        rate = np.float32(seconds / max(1.0, min(_MEMORY_S, self._known_ns / SECOND)))
        self._field += (field - self._field) * (rate * (seen & ~self._doubtful(luma.shape)))
        if whole and seen.any():
            self._edges += (float((strength > EDGE)[seen].mean()) - self._edges) * float(rate)
            now = _coarse(luma)
            self._coarse = now if self._coarse is None else self._coarse + (now - self._coarse) * rate

    def _doubtful(self, shape: tuple[int, ...]) -> Bools:
        """Pixels of tiles that differ from the stored edges, but not for long enough to be learned."""
        fresh = [(lasting.ns > 0) & (lasting.ns < _SETTLED_NS) for lasting in (self._flat, self._foreign)]
        covered = (self._flat.ns > 0) & (self.state.kind == "covered")
        tiles = (fresh[0] | fresh[1] | covered).astype(np.uint8)
        return np.asarray(cv2.resize(tiles, shape[::-1], interpolation=cv2.INTER_NEAREST) > 0)


def _kind(look: _Look) -> Kind:
    """The finding in one picture; "" if there is none, or if it concerns only a part of the picture."""
    if look.bright >= _WHOLE:
        return "blinded"
    if look.agree < _NONE and look.edges < 0.35:
        return "defocused" if look.alike > 0.6 else "covered"
    return "moved" if look.agree < _NONE or look.shift else ""


def _coarse(luma: Plane) -> Floats:
    return np.asarray(cv2.resize(luma, (16, 9), interpolation=cv2.INTER_AREA), np.float32)
