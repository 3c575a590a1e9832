"""A running ingest, spoken to with curl: what other software would have to do."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from central.keys.keygen import authority
from privacy.ids import new_clip_id
from privacy.records.jws import sign, verify_issued
from privacy.records.manifest import PARCEL, PART, RECEIPT, Parcel, Receipt, SealedFile
from provisioning.identity import load_signer
from tests.support.broker import PATIENCE, free_port, until
from tests.support.clips import TOOL, Node


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


class Centre:
    """Keys, a store, and the server as a process that can be killed and started again on the same port.

    where, environment   of an object store; by default the store is the folder
    """

    def __init__(self, keys: Path, store: Path, where: str = "", environment: Mapping[str, str] | None = None) -> None:
        self.keys, self.store, self.port = keys, store, free_port()
        self.where, self.environment = where or str(store), {**os.environ, **(environment or {})}
        self.log = store.with_name(f"{store.name}-{self.port}.log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, before: Sequence[str | Path] = ()) -> None:
        """`before`: a command that runs the server, as strace does."""
        words = [*before, TOOL, "ingest", "--keys", self.keys, "--store", self.where, "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=self.environment)
        until(self._answers, f"the ingest answers: {self.log.read_text()}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(PATIENCE * 20)

    def curl(self, tls: Path, *words: str | Path, path: str) -> list[str | Path]:
        files: list[str | Path] = ["--cacert", self.keys / "ca.pem", "--cert", f"{tls}.pem", "--key", f"{tls}.key"]
        return ["curl", "-sS", "-w", "\n%{http_code}", *files, *words, f"https://127.0.0.1:{self.port}{path}"]

    def call(self, tls: Path, method: str, path: str, *words: str | Path) -> Answer:
        done = subprocess.run(
            self.curl(tls, "-X", method, "--path-as-is", *words, path=path),
            capture_output=True,
            text=True,
            timeout=PATIENCE * 60,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr} {self.process and self.process.poll()} {self.log.read_text()}"
        body, _, status = done.stdout.rpartition("\n")
        return Answer(int(status), json.loads(body) if body else {})

    def announce(self, node: Node, folder: Path, *, tls: Path | None = None, name: str = "", kind: str = "clip") -> Answer:
        """The object of a folder, by its manifest.jws or parcel.jws."""
        [record] = [path for path in (folder / "manifest.jws", folder / "parcel.jws") if path.exists()]
        files = [path for path in folder.iterdir() if path.suffix != ".jws" or path.name.isdecimal()]
        md5 = {path.name: [content_md5(data) for data in split(path.read_bytes())] for path in files}
        body = folder.with_suffix(".json")
        body.write_text(json.dumps({"kind": kind, "id": name or folder.name, "manifest": record.read_text(), "md5": md5}))
        return self.call(tls or node.tls, "POST", "/v1/objects", "--data-binary", f"@{body}")

    def put(self, node: Node, folder: Path, part: dict[str, Any], body: bytes | None = None, md5: bytes | None = None) -> Answer:
        """One part; `body` and `md5` only where a test sends something else. An object store gets no certificate."""
        if body is None:
            body = (folder / part["file"]).read_bytes()[part["offset"] : part["offset"] + part["size"]]
        piece = folder.with_suffix(".piece")
        piece.write_bytes(body)
        words = ["--data-binary", f"@{piece}", "-H", f"Content-MD5: {content_md5(body if md5 is None else md5)}"]
        if part["url"].startswith("/"):
            return self.call(node.tls, "PUT", part["url"], *words)
        strange = ["curl", "-sS", "-w", "\n%{http_code}", "--cacert", self.keys / "ca.pem", "-T", piece, *words[2:], part["url"]]
        done = subprocess.run(strange, capture_output=True, text=True, timeout=PATIENCE * 60, check=True)
        return Answer(int(done.stdout.rpartition("\n")[2]), {})

    def complete(self, node: Node, folder: Path) -> Answer:
        return self.call(node.tls, "POST", f"/v1/objects/{folder.name}/complete")

    def look(self, node: Node, folder: Path) -> Answer:
        return self.call(node.tls, "GET", f"/v1/objects/{folder.name}")

    def upload(self, node: Node, folder: Path, kind: str = "clip") -> Answer:
        announced = self.announce(node, folder, kind=kind)
        assert announced.status == 200, announced
        for part in announced.body["parts"]:
            if not part["done"]:
                assert self.put(node, folder, part).status in (200, 204)
        return self.complete(node, folder)

    def home(self, node: Node, folder: Path) -> Path:
        return self.store / node.name / folder.name

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log.read_text()
        words = ["curl", "-s", "-o", "/dev/null", "--cacert", self.keys / "ca.pem", f"https://127.0.0.1:{self.port}/"]
        return subprocess.run(words, check=False).returncode != 7  # 7: nobody listens


def split(data: bytes) -> list[bytes]:
    """In parts; nothing at all is one empty part."""
    return [data[at : at + PART] for at in range(0, max(1, len(data)), PART)]


def content_md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def receipt_of(centre: Centre, answer: Answer) -> Receipt:
    assert (answer.status, answer.body.get("schema")) == (200, "lykta.receipt/1"), answer
    token = answer.body["receipt"].encode()
    return verify_issued(token, RECEIPT, authority(centre.keys), "receipt", Receipt)[0]


def parcel(node: Node, kind: Any, files: dict[str, bytes], unit: Any = "camera", facts: dict[str, Any] | None = None) -> Path:
    """The folder of a parcel as a unit of the node packs it."""
    name, (site, stop) = new_clip_id(time.time_ns()), node.name.split("/")
    folder = node.layout.uplink / "parcels" / name
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    sealed = tuple(SealedFile(file, len(data), hashlib.sha256(data).hexdigest()) for file, data in files.items())
    record = Parcel(name, kind, site, stop, unit, datetime.now(UTC), sealed, facts or {})
    (folder / "parcel.jws").write_bytes(sign(record, load_signer(node.layout, unit), PARCEL))
    return folder
