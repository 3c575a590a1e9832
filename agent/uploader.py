"""The uploader: sealed clips to the centre's ingest, part by part, and the signed receipt back to the camera.

It reads the spool and can delete nothing: the camera frees a clip, on a receipt that it verifies itself. Every call may be
repeated, so whatever breaks is simply done again, with growing pauses.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from pathlib import Path
from typing import Any, BinaryIO

from agent.control import ask
from agent.messages import ClipNote
from agent.outbox import Outbox
from agent.service import Runtime
from drivers.https import Client
from privacy.errors import LyktaError, StorageError
from provisioning.identity import TlsFiles

_IDLE_S = 0.5
_LONGEST_PAUSE_S = 60.0


class Uploader:
    """One thread's work."""

    def __init__(self, runtime: Runtime, outbox: Outbox, files: TlsFiles) -> None:
        place = runtime.config.ingest
        self._runtime, self._outbox = runtime, outbox
        self._client = Client(place.host, place.port, files.ca, files.certificate, files.key)
        self._told: set[str] = set()
        self._failures = 0
        self.uploaded = 0

    def run(self) -> None:
        stop = self._runtime.stop
        while not stop.wait(self._pause()):
            try:
                for folder in waiting(self._runtime.layout.spool):
                    self._upload(folder)
                    self._failures = 0
            except LyktaError as problem:
                self._failures += 1
                self._say(problem)
        self._client.close()

    def _upload(self, folder: Path) -> None:
        """One clip from wherever it stands to its receipt."""
        token = _read(folder / "manifest.jws").decode()
        clip = folder.name
        announced = self._post("/v1/objects", {"kind": "clip", "id": clip, "manifest": token})
        self._tell(folder)
        receipt = announced.get("receipt")
        if not receipt:
            for part in announced["parts"]:
                if self._runtime.stop.is_set():
                    return
                self._put(folder, part)
            receipt = self._post(f"/v1/objects/{clip}/complete", {})["receipt"]
            self.uploaded += 1
        ask(self._runtime.layout.socket("camera", "uplink"), {"verb": "receipt", "jws": receipt}, timeout=10)
        self._told.discard(clip)
        self._runtime.report(uploaded=self.uploaded, upload_error="")

    def _put(self, folder: Path, part: dict[str, Any]) -> None:
        if part["done"]:
            return
        with _open(folder / part["file"]) as file:
            file.seek(part["offset"])
            body = file.read(part["size"])
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        self._client.call("PUT", part["url"], body, Content_MD5=md5)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._client.call("POST", path, json.dumps(body).encode(), Content_Type="application/json")

    def _tell(self, folder: Path) -> None:
        if folder.name in self._told:
            return
        self._told.add(folder.name)
        size = sum(path.stat().st_size for path in folder.glob("*.age"))
        self._outbox.put(ClipNote(folder.name, "uploading", "", "", size))

    def _say(self, problem: LyktaError) -> None:
        if self._failures == 1:
            self._runtime.log("warning", f"upload: {problem}", hint=problem.hint)
        self._runtime.report(upload_error=str(problem))

    def _pause(self) -> float:
        """Half a second when all is well; with each failure twice as long, up to a minute, never in step with others."""
        if not self._failures:
            return _IDLE_S
        return min(_LONGEST_PAUSE_S, 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)


def waiting(spool: Path) -> list[Path]:
    """Folders of complete clips, oldest first."""
    return sorted(path.parent for path in spool.glob("*/manifest.jws"))


def _read(path: Path) -> bytes:
    with _open(path) as file:
        return file.read()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as problem:
        # The camera may free or expire a clip at any moment.
        raise StorageError(f"clip {path.parent.name}: {path.name}: {problem.strerror}", "it was freed or expired") from problem
