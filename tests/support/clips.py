"""A centre made by `lykta-central`, nodes with its bundles, and sealed clips as a node's spool makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from agent.clips.spool import Spool
from central.keys.keygen import authority, signer
from central.keys.review import PLACEHOLDERS
from drivers.media.encoder import H264Encoder, Mp4Writer
from privacy.ids import new_clip_id
from privacy.masking.delay import Verdict
from privacy.masking.frames import Frame
from privacy.masking.mask_record import SCHEMA, MaskHeader, MaskRecord
from privacy.masking.masker import Masker
from privacy.masking.regions import Region
from privacy.records.basis import View
from privacy.records.jws import sha256_hex, sign, verify_issued
from privacy.records.manifest import MANIFEST, RECEIPT, Manifest, Receipt
from privacy.records.seal import Recipient
from provisioning.identity import Unit, load_authority, load_signer, recipients
from provisioning.layout import Layout
from tests.support.broker import PATIENCE
from tests.support.manifests import BEGIN, HEIGHT, WIDTH, manifest

TOOL = Path(sys.executable).with_name("lykta-central")


def central(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run lykta-central to its end, whatever that is."""
    return subprocess.run([TOOL, *words], capture_output=True, text=True, timeout=PATIENCE * 60, check=False)


def made(*words: str | Path) -> str:
    """What lykta-central printed; it must succeed."""
    done = central(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(name: str, node: str = "city/stop-1") -> str:
    """A record's example as somebody filled it in."""
    text = made("sign", name, "--example", node)
    for placeholder, written in zip(PLACEHOLDERS, ("assessment 7", "stop 12", "Anna Ek"), strict=True):
        text = text.replace(placeholder, written)
    record = json.loads(text)
    for area in record.get("areas", ()):
        area["polygon"] = [[0, 0], [0.9, 0], [0.9, 1], [0, 1]]
    return json.dumps(record)


def bundle(keys: Path, name: str, root: Path) -> Layout:
    where = ["--broker", "127.0.0.1:8883", "--ingest", "127.0.0.1:8443"]
    made("bundle", keys, name, "--root", root, "--area", "Skäggetorp", *where)
    return Layout(root)


class Node:
    """A node with an identity of that centre; its clips hold rubbish instead of video."""

    def __init__(self, keys: Path, name: str, root: Path) -> None:
        self.name, self.layout = name, bundle(keys, name, root)
        self.spool = self.spool_of("camera")

    def spool_of(self, unit: Unit) -> Spool:
        """A spool whose manifests that unit signs; only the camera's are worth anything."""
        return Spool(self.layout.spool, load_signer(self.layout, unit), load_authority(self.layout))

    @property
    def tls(self) -> Path:
        return self.layout.credentials / "tls"

    def clip(self, video: bytes = b"video" * 999, *, masks: int = 30, spool: Spool | None = None, **changes: Any) -> Path:
        """The folder of a finished clip; `changes` are what its manifest says instead."""
        spool = spool or self.spool
        opened = manifest(new_clip_id(time.time_ns()), self.name, recipients(self.layout))
        sinks = spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
        sinks[0].feed(video)
        sinks[1].feed(msgspec.json.encode(HEADER) + b"\n")
        for number in range(masks):
            sinks[1].feed(msgspec.json.encode(mask(number)) + b"\n")
        finished = msgspec.structs.replace(opened, state="complete", files=tuple(sink.close() for sink in sinks))
        spool.finish(msgspec.structs.replace(finished, **changes))
        return spool.folder / opened.clip

    def torn(self, video: bytes = b"video" * 999, *, masks: bytes = b"", **changes: Any) -> Path:
        """The folder of a clip that a power cut tore after a sync and a checkpoint."""
        opened = manifest(new_clip_id(time.time_ns()), self.name, recipients(self.layout), **changes)
        writer = self.spool_of("camera")
        pair = writer.begin(opened, [Recipient.parse(one) for one in opened.recipients])
        pair[0].feed(video)
        pair[1].feed(masks or msgspec.json.encode(HEADER) + b"\n")
        writer.sync(opened.clip, *pair)
        writer.checkpoint(opened, *pair)
        for sink in pair:
            sink.abandon()
        return writer.folder / opened.clip


HEADER = MaskHeader(SCHEMA, WIDTH, HEIGHT, "standard", None, ())
PERSON = ("person", 60, 20, 160, 160)
Tamper = Callable[[int, Frame], None]


def mask(number: int) -> MaskRecord:
    """Two frames at the start fully masked, then one person."""
    return MaskRecord(number, 40 * number, "start" if number < 2 else "", (PERSON,) if number >= 2 else ())


def film(frames: int = 30, after: Tamper = lambda number, frame: None, view: View | None = None) -> bytes:
    """A clip's MP4 as the node makes it, whose masks are `mask(0)`, `mask(1)` …: a busy street, painted, encoded, muxed.

    after   may change a frame between masker and encoder, which no node's own path allows
    """
    rng, masker, sink = np.random.default_rng(5), Masker(WIDTH, HEIGHT, view), _Bytes()
    rough = rng.integers(30, 220, (HEIGHT // 12, WIDTH // 12 + frames)).astype(np.uint8)
    street = cv2.resize(rough, None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC)
    encoder, writer = H264Encoder(WIDTH, HEIGHT, 25, bitrate=1_000_000), Mp4Writer(sink, 25)
    for number in range(frames):
        buffer = np.full((HEIGHT * 3 // 2, WIDTH), 120, np.uint8)
        buffer[:HEIGHT] = street[:HEIGHT, 4 * number : 4 * number + WIDTH]
        frame = Frame(buffer, WIDTH, HEIGHT, number, 40_000_000 * number, 0)
        record = mask(number)
        masked = masker.mask(frame, Verdict(tuple(Region(*box) for box in record.boxes), record.cause))
        after(number, frame)
        for packet in encoder.encode(masked):
            writer.write(packet)
    for packet in encoder.end():
        writer.write(packet)
    writer.close()
    return bytes(sink.data)


class _Bytes:
    """A sink in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)


def noise(size: int) -> bytes:
    return os.urandom(size)


def refused(code: int, said: str, *words: str | Path) -> None:
    """One error line and one hint, nothing else, and that exit code."""
    done = central(*words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint.startswith("hint: ")


def receipt(keys: Path, folder: Path, **changes: Any) -> None:
    """What the ingest writes beside a clip."""
    token = (folder / "manifest.jws").read_bytes()
    known, _ = verify_issued(token, MANIFEST, authority(keys), "camera", Manifest)
    record = Receipt(known.clip, "clip", known.site, known.node, sha256_hex(token), known.files, BEGIN)
    (folder / "receipt.jws").write_bytes(sign(msgspec.structs.replace(record, **changes), signer(keys, "receipt"), RECEIPT))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def sealed(of: Node, video: bytes, lines: list[Any], **changes: Any) -> Path:
    """A finished clip of that video and those mask lines, its manifest changed as told."""
    opened = manifest(new_clip_id(7), of.name, recipients(of.layout))
    sinks = of.spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
    sinks[0].feed(video)
    for line in lines:
        sinks[1].feed((line if isinstance(line, bytes) else msgspec.json.encode(line)) + b"\n")
    done = msgspec.structs.replace(opened, state="complete", files=tuple(sink.close() for sink in sinks))
    of.spool.finish(msgspec.structs.replace(done, **changes))
    return of.spool.folder / opened.clip


def records(number: int = 30) -> list[Any]:
    """The mask lines of a clip of so many frames, in order."""
    return [HEADER, *(mask(n) for n in range(number))]
