"""A centre made by `lykta-central`, nodes with its bundles, and sealed clips as a node's spool makes them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from agent.recorder import new_clip_id
from agent.spool import Spool
from privacy.manifest import Manifest
from privacy.mask_record import SCHEMA, MaskHeader, MaskRecord
from privacy.seal import Recipient
from provisioning.identity import Unit, load_authority, load_signer, recipients
from provisioning.layout import Layout

TOOL = Path(sys.executable).with_name("lykta-central")
# After the certificates of this run were made: a manifest is verified at its own time.
BEGIN = datetime.now(UTC).replace(microsecond=0)


def central(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run lykta-central to its end, whatever that is."""
    return subprocess.run([TOOL, *words], capture_output=True, text=True, timeout=60, check=False)


def made(*words: str | Path) -> str:
    """What lykta-central printed; it must succeed."""
    done = central(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


HEADER = MaskHeader(SCHEMA, 640, 360, "standard", None, ())


def mask(number: int) -> MaskRecord:
    """Two frames at the start fully masked, then one person."""
    return MaskRecord(number, 40 * number, "start" if number < 2 else "", (("person", 10, 20, 30, 80),) if number >= 2 else ())


def manifest(clip: str, name: str, to: tuple[str, ...]) -> Manifest:
    site, node = name.split("/")
    digest = hashlib.sha256(b"").hexdigest()
    return Manifest(
        clip=clip,
        site=site,
        node=node,
        area="Skäggetorp",
        state="open",
        trigger="presence",
        begin=BEGIN,
        end=BEGIN + timedelta(seconds=3),
        time_error_ms=1000,
        mono_ms=1,
        boot_id="b1",
        clock="synced",
        width=320,
        height=180,
        frames=30,
        full=dict(Counter(start=2)),
        profile="standard",
        stack="yolox-nano+yunet",
        models={"yolox_nano.onnx": digest},
        zones_sha256=digest,
        basis="basis-1",
        view="view-1",
        deadline=BEGIN + timedelta(hours=72),
        recipients=to,
        files=(),
        previous="",
    )


def noise(size: int) -> bytes:
    return os.urandom(size)
