"""Clips torn by a power cut: the last checkpoint that the camera signed, and the tail, which holds bytes of incomplete chunks.

`tail.age` is a complete small age file: one JSON line, then bytes of the video, then bytes of the mask records. These bytes
follow, or overlap, the content of the complete chunks of clip.age and masks.age.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

from msgspec import Meta, Struct

from privacy.errors import RecordError, SealError
from privacy.files import open_file
from privacy.foreign import decode
from privacy.records.jws import Authority
from privacy.records.manifest import CLIP, LARGEST, MASKS, Manifest, SealedFile, read_manifest
from privacy.records.seal import CHUNK

_BLOCK = 1 << 20
_UNUSABLE = "the clip must not be used"
_LONGEST_LINE = 1024
Offset = Annotated[int, Meta(ge=0, le=LARGEST)]
Size = Annotated[int, Meta(ge=0, le=CHUNK)]
LONGEST = 3 * CHUNK
"""Most bytes of a tail: one chunk of each stream, and the JSON line."""


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    """The tail's JSON line: offset and size of each stream's bytes, counted in decrypted bytes."""

    clip: tuple[Offset, Size]
    masks: tuple[Offset, Size]


@dataclass(frozen=True)
class TailPart:
    """Decrypted bytes of one stream, from `offset` on."""

    offset: int
    data: bytes

    def append_to(self, clear: IO[bytes], name: str) -> None:
        """Append the bytes that `clear` lacks. `SealError` if they leave a gap, or differ where both overlap. name: for errors."""
        size = clear.seek(0, 2)
        if self.offset > size:
            raise SealError(f"tail.age: begins {self.offset - size} bytes after the end of {name}", _UNUSABLE)
        clear.seek(self.offset)
        both = clear.read(len(self.data))
        if both != self.data[: len(both)]:
            raise SealError(f"tail.age: differs from {name} where they overlap", _UNUSABLE)
        clear.seek(0, 2)
        clear.write(self.data[len(both) :])


EMPTY_TAIL: Mapping[str, TailPart] = {CLIP: TailPart(0, b""), MASKS: TailPart(0, b"")}


def read_tail(clear: bytes) -> Mapping[str, TailPart]:
    """The parts of a decrypted tail, by the name of the sealed file that they continue; `SealError` if it is invalid."""
    head, _, rest = clear.partition(b"\n")
    try:
        line = decode(head, _Line, "its first line", most=_LONGEST_LINE)
    except RecordError as problem:
        raise SealError(f"tail.age: {problem}", _UNUSABLE) from problem
    video, masks = line.clip[1], line.masks[1]
    if len(rest) != video + masks:
        raise SealError(f"tail.age: holds {len(rest)} bytes, its line says {video + masks}", _UNUSABLE)
    return {CLIP: TailPart(line.clip[0], rest[:video]), MASKS: TailPart(line.masks[0], rest[video:])}


def check_checkpoint(folder: Path, manifest: Manifest, trusted: Authority) -> Manifest | None:
    """The last checkpoint of a torn clip, None if there is none; `RecordError` if it is invalid or bytes that it covers changed."""
    if not manifest.checkpoint:
        return None
    checkpoint, party = read_manifest(manifest.checkpoint.encode(), trusted)
    said = (checkpoint.clip, checkpoint.site, checkpoint.node, checkpoint.state, party.name)
    if said != (manifest.clip, manifest.site, manifest.node, "open", f"{manifest.site}/{manifest.node}"):
        raise RecordError("checkpoint: belongs to another clip", "the clip was assembled from others")
    for file in checkpoint.files:
        if file.name in (CLIP, MASKS) and not _begins_with(folder / file.name, file):
            raise RecordError(
                f"checkpoint: {file.name}: its first {file.size} bytes changed after its last checkpoint", "do not use the clip"
            )
    return checkpoint


def _begins_with(path: Path, prefix: SealedFile) -> bool:
    digest, left = hashlib.sha256(), prefix.size
    try:
        with open_file(path, path.name) as sealed:
            while left and (block := sealed.read(min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
    except FileNotFoundError:
        return False
    return not left and digest.hexdigest() == prefix.sha256
