"""A learned background as a file: the empty scene as `strict` learned it, for clips that are too short to learn it.

JSON (schema lykta.background/1) of at most `LONGEST` bytes, with three planes in base64. By the gate's rules it shows the scene
at times when nobody was detected there; tiles that were never seen like that, or that every picture masks, are 0. It still is
a picture, 192 pixels along its long side, so the file is readable for its owner only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from privacy.errors import MediaError, RecordError
from privacy.files import read
from privacy.foreign import decode
from privacy.masking.background.background_model import LEAST, MOST, NOISE, BackgroundModel, small_shape
from privacy.masking.background.samples import TILE
from privacy.masking.mask_record import Pixels
from privacy.masking.tiles import Grid, pixels_of

LONGEST: Final = 256 * 1024
"""Bytes of the file, at most; a picture of 192x192 pixels takes 102 kB."""
SCHEMA: Final = "lykta.background/1"
SIXTEENTHS: Final = 16
"""Deviations are stored in sixteenths of a luma step."""
_HINT: Final = "make one with lykta mask CLIP OUT --profile strict --learn-background FILE"
_Plane = Annotated[bytes, Meta(max_length=192 * 192)]


class LearnedBackground(Struct, frozen=True):
    """The background of an empty scene.

    width, height   of the pictures from which it was learned, pixels
    mean            luma of the small picture, one byte per pixel, row by row
    deviation       deviation of the luma in sixteenths of a step, in the same layout
    seen            one byte per tile: 1 if it was seen without people, else 0
    """

    schema: Literal["lykta.background/1"]
    width: Pixels
    height: Pixels
    mean: _Plane
    deviation: _Plane
    seen: _Plane

    @property
    def share(self) -> float:
        """Share of the tiles that were seen without people, 0..1."""
        return sum(self.seen) / len(self.seen)


def encode(learned: LearnedBackground) -> bytes:
    return msgspec.json.encode(learned) + b"\n"


def parse(data: bytes, what: str) -> LearnedBackground:
    """The background in these bytes; `RecordError` if they are not valid. what: names them in errors."""
    found = decode(data, LearnedBackground, what, hint=_HINT, most=LONGEST)
    rows, columns = small_shape(found.width, found.height)
    tiles = -(-rows // TILE) * -(-columns // TILE)
    if (len(found.mean), len(found.deviation), len(found.seen)) != (rows * columns, rows * columns, tiles):
        raise RecordError(f"{what}: its planes are not those of a picture of {found.width}x{found.height}", _HINT)
    if not set(found.seen) <= {0, 1}:
        raise RecordError(f"{what}: seen: must be 0 or 1 in each tile", _HINT)
    if not {*found.deviation} <= set(range(int(LEAST) * SIXTEENTHS, int(MOST) * SIXTEENTHS + 1)):
        raise RecordError(f"{what}: deviation: must be {LEAST:g} to {MOST:g} steps", _HINT)
    return found


def read_background(path: Path) -> LearnedBackground:
    """The background in a file. `RecordError` if it is not valid or not a regular file, `MediaError` if it cannot be read."""
    try:
        data = read(path, str(path), most=LONGEST)
    except OSError as problem:
        raise MediaError(f"{path}: cannot be read: {problem.strerror}", _HINT) from problem
    return parse(data, str(path))


def from_model(model: BackgroundModel, seen: Grid, size: tuple[int, int]) -> LearnedBackground:
    """The learned background of a model: the tiles `seen`; all others are 0. size: width and height of the pictures."""
    pixels = pixels_of(seen, TILE, model.mean.shape)
    mean = np.where(pixels, model.mean.clip(0, 255).round(), 0).astype(np.uint8)
    deviation = (np.where(pixels, model.deviation, NOISE) * SIXTEENTHS).round().astype(np.uint8)
    return LearnedBackground(SCHEMA, *size, mean.tobytes(), deviation.tobytes(), seen.astype(np.uint8).tobytes())


def to_model(learned: LearnedBackground) -> tuple[BackgroundModel, Grid]:
    """The background model, and which of its tiles were seen."""
    shape = small_shape(learned.width, learned.height)
    planes = (learned.mean, learned.deviation)
    mean, deviation = (np.frombuffer(plane, np.uint8).reshape(shape).astype(np.float32) for plane in planes)
    grid = np.frombuffer(learned.seen, np.uint8).reshape(-(-shape[0] // TILE), -(-shape[1] // TILE)).astype(bool)
    return BackgroundModel(mean, deviation / np.float32(SIXTEENTHS)), grid
