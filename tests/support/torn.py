"""A clip as a power cut leaves it: whole chunks, a tail, a checkpoint; made of the same parts as the node's own."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from privacy.ids import new_clip_id
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import CLIP, MANIFEST, MASKS, TAIL, Manifest, SealedFile
from privacy.records.seal import CHUNK, TAG, Recipient, Seal
from provisioning.identity import load_signer, recipients
from tests.support.clips import HEADER, Node, mask
from tests.support.manifests import BEGIN, manifest


class Sink:
    """Sealed bytes in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)


def sealed(clear: bytes, node: Node, *, end: bool) -> bytes:
    """An age file; without `end` only its whole chunks, as a cut leaves them."""
    sink = Sink()
    seal = Seal(sink, [Recipient.parse(one) for one in recipients(node.layout)])
    seal.write(clear)
    if end:
        seal.close()
    return bytes(sink.data)


def tear(
    node: Node,
    video: bytes,
    *,
    cut: int,
    left: int,
    overlap: int = 0,
    tail: bytes | None = None,
    changed: dict[str, Any] | None = None,
) -> tuple[Path, bytes]:
    """The folder of a torn clip, and the clear video that can be had of it.

    cut      clear bytes of video that were written before the power went, in whole chunks but for the tail
    left     bytes of them at the end that only the tail holds at most; overlap: and so many that the chunks hold as well
    tail     clear bytes of the tail instead; changed: fields of the checkpoint instead
    """
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in (HEADER, *(mask(n) for n in range(30))))
    whole = sealed(video[:cut], node, end=False)
    chunks = (len(whole) - len(sealed(b"", node, end=False))) // (CHUNK + TAG) * CHUNK
    offset, reach = max(0, chunks - overlap), min(cut, chunks + left)
    line = json.dumps({"clip": [offset, reach - offset], "masks": [0, len(lines)]}, separators=(",", ":")).encode() + b"\n"
    files = {
        CLIP: whole,
        MASKS: sealed(lines, node, end=False),
        TAIL: sealed(line + video[offset:reach] + lines if tail is None else tail, node, end=True),
    }
    return written(node, files, changed or {}), video[:reach]


def written(node: Node, files: dict[str, bytes], changed: dict[str, Any]) -> Path:
    opened = manifest(new_clip_id(time.time_ns()), node.name, recipients(node.layout), frames=0, full={})
    folder = node.spool.folder / opened.clip
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    listed = tuple(SealedFile(name, len(data), sha256_hex(data)) for name, data in files.items())
    prefix = tuple(SealedFile(file.name, file.size, file.sha256) for file in listed if file.name != TAIL)
    checkpoint = msgspec.structs.replace(opened, end=BEGIN + timedelta(seconds=2), files=prefix)
    token = sign(msgspec.structs.replace(checkpoint, **changed), load_signer(node.layout, "camera"), MANIFEST)
    torn: Manifest = msgspec.structs.replace(opened, state="torn", files=listed, checkpoint=token.decode())
    node.spool.finish(torn)
    return folder
