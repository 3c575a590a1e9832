"""How many finished small clips one ingest takes over mutual TLS, and two beside one store.

Simulated nodes, one connection each that stands, in processes of their own whose work is not counted; every clip is 40 kB of
video and 4 kB of mask records, announced, sent, completed, and on the disk with its receipt. The rate by the clock depends
on what else runs; the CPU seconds of the ingest are what to compare.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import multiprocessing
import os
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from central.keys.keygen import issue, keygen, signer
from privacy.ids import new_clip_id
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import MANIFEST, SealedFile
from tests.support.manifests import manifest
from tests.support.receiving import Centre, content_md5

NODES, CLIPS, PROCESSES = 24, 40, 2
VIDEO, MASKS = 40_000, 4_000
HEAD = b"age-encryption.org/v1\n-> X25519 key\nwrapped\n--- mac\n"
AT_LEAST = 30.0


@dataclass(frozen=True)
class Clip:
    announcement: bytes
    id: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class Figure:
    """clips of seconds by the clock; cpu: seconds of all ingest processes together."""

    replicas: int
    clips: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.clips / self.seconds

    def row(self) -> str:
        each = 1000 * self.cpu / self.clips
        return (
            f"| {self.replicas} | {self.clips} | {self.rate:.0f} | {each:.1f} ms | {self.cpu / self.seconds:.0%} | {AT_LEAST:.0f} |"
        )


def clips_of(keys: Path, node: str, count: int) -> list[Clip]:
    """Signed beforehand, in one chain, as a node would have them in its spool."""
    to = tuple(line for line in (keys / "recipients.txt").read_text().split() if line.startswith("age1"))
    camera, made, previous = signer(keys / "nodes", f"{node}-camera"), list[Clip](), ""
    for _ in range(count):
        files = {"clip.age": HEAD + os.urandom(VIDEO), "masks.age": HEAD + os.urandom(MASKS)}
        sealed = tuple(SealedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items())
        name, deadline = new_clip_id(time.time_ns()), datetime.now(UTC) + timedelta(hours=72)
        said = {"state": "complete", "files": sealed, "previous": previous, "deadline": deadline}
        token = sign(manifest(name, f"city/{node}", to, **said), camera, MANIFEST)
        previous = sha256_hex(token)
        body = {"kind": "clip", "id": name, "manifest": token.decode(), "md5": {one: [content_md5(files[one])] for one in files}}
        made.append(Clip(json.dumps(body).encode(), name, files))
    return made


def feed(keys: Path, names: list[str], ports: list[int], start: Any, done: Any) -> None:
    """A process: a thread for each node; tells how many receipts came."""
    work = {name: clips_of(keys, name, CLIPS) for name in names}
    lines = {name: _connected(keys, name, ports[number % len(ports)]) for number, name in enumerate(names)}
    start.wait()
    with ThreadPoolExecutor(len(names)) as pool:
        done.put(sum(pool.map(lambda name: sum(_upload(lines[name], clip) for clip in work[name]), names)))


def _connected(keys: Path, name: str, port: int) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    context.load_cert_chain(keys / "nodes" / f"{name}.pem", keys / "nodes" / f"{name}.key")
    line = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    _call(line, "GET", "/v1/orders")
    return line


def _upload(line: http.client.HTTPSConnection, clip: Clip) -> int:
    for part in _call(line, "POST", "/v1/objects", clip.announcement)["parts"]:
        body = clip.files[part["file"]]
        _call(line, "PUT", part["url"], body, {"Content-MD5": content_md5(body)})
    return len(_call(line, "POST", f"/v1/objects/{clip.id}/complete")["receipt"]) > 100


def _call(
    line: http.client.HTTPSConnection, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Any:
    line.request(method, path, body, headers or {})
    answer = line.getresponse()
    data = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {data!r}")
    return json.loads(data) if data else {}


def measure(folder: Path, replicas: int) -> Figure:
    """A fresh store below `folder`, its processes, and all clips once through."""
    keys = folder / "keys"
    names = [f"stop-{number}" for number in range(NODES)]
    centres = [Centre(keys, folder / f"store-{replicas}") for _ in range(replicas)]
    for centre in centres:
        centre.start()
    try:
        context = multiprocessing.get_context("spawn")
        start, done = context.Barrier(PROCESSES + 1), context.Queue()
        ports = [centre.port for centre in centres]
        feeders = [context.Process(target=feed, args=(keys, names[n::PROCESSES], ports, start, done)) for n in range(PROCESSES)]
        for feeder in feeders:
            feeder.start()
        start.wait()
        began, before = time.monotonic(), sum(cpu(centre) for centre in centres)
        receipts = sum(done.get(timeout=300) for _ in feeders)
        seconds, used = time.monotonic() - began, sum(cpu(centre) for centre in centres) - before
        for feeder in feeders:
            feeder.join()
        if receipts != NODES * CLIPS:
            raise RuntimeError(f"{receipts} receipts for {NODES * CLIPS} clips")
        return Figure(replicas, receipts, seconds, used)
    finally:
        for centre in centres:
            centre.end()


def cpu(centre: Centre) -> float:
    assert centre.process
    times = psutil.Process(centre.process.pid).cpu_times()
    return times.user + times.system


def lines() -> Iterator[str]:
    """A row for one ingest and for two, as Markdown would have it."""
    yield "| ingest processes | clips | clips a second | CPU a clip | of a core in use | at least |"
    yield "|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory(prefix="lykta-bench-") as place:
        folder = Path(place)
        keygen(folder / "keys", ["127.0.0.1"])
        (folder / "keys/nodes").mkdir()
        for number in range(NODES):
            issue(folder / "keys", folder / f"keys/nodes/stop-{number}", f"city/stop-{number}", "tls")
            issue(folder / "keys", folder / f"keys/nodes/stop-{number}-camera", f"city/stop-{number}", "camera")
        for replicas in (1, 2):
            yield measure(folder, replicas).row()


def main() -> int:
    for line in lines():
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
