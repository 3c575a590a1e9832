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
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import Meta, Struct

from agent.control import ask
from agent.messages import ClipNote
from agent.outbox import Outbox
from agent.service import Runtime
from drivers.https import Client
from privacy.errors import LyktaError, RecordError, StorageError, UnreachableError
from privacy.manifest import FileName
from provisioning.identity import TlsFiles

_IDLE_S = 0.5
_LONGEST_PAUSE_S = 60.0


class Part(Struct, frozen=True):
    """A piece of a sealed file that the ingest asks for. Only sealed files have names here: it can ask for nothing else."""

    file: FileName
    offset: int
    size: Annotated[int, Meta(ge=0, le=64 << 20)]
    url: str
    done: bool


class Announced(Struct, frozen=True):
    """The ingest's answer: the parts with what it has of them, or the receipt if it has all."""

    parts: tuple[Part, ...] = ()
    receipt: str | None = None


class Uploader:
    """One thread's work."""

    def __init__(self, runtime: Runtime, outbox: Outbox, files: TlsFiles) -> None:
        place = runtime.config.ingest
        self._runtime, self._outbox = runtime, outbox
        self._client = Client(place.host, place.port, files.ca, files.certificate, files.key)
        self._told: set[str] = set()
        self._trouble = ""
        self._failures = 0
        self.uploaded = 0

    def run(self) -> None:
        while not self._runtime.stop.wait(self._pause()):
            trouble = self._round()
            self._failures = self._failures + 1 if trouble else 0
            self._say(trouble)
            # A server closes what is idle; the next round begins with a connection that stands.
            self._client.close()

    def abort(self) -> None:
        """End a call that is under way, when the service stops; the next start goes on from there."""
        self._client.abort()

    def _round(self) -> LyktaError | None:
        """Every complete clip once; the first trouble. One that is refused or cannot be freed yet keeps no other waiting."""
        trouble: LyktaError | None = None
        for folder in waiting(self._runtime.layout.spool):
            if self._runtime.stop.is_set():
                break
            try:
                receipt = self._upload(folder)
            except UnreachableError as problem:
                return problem
            except LyktaError as problem:
                trouble = trouble or problem
                continue
            unfreed = self._hand_over(folder.name, receipt)
            trouble = trouble or unfreed
        return trouble

    def _upload(self, folder: Path) -> str | None:
        """One clip from wherever it stands to its receipt; None if we were told to stop on the way."""
        token = _read(folder / "manifest.jws").decode()
        announced = self._post("/v1/objects", {"kind": "clip", "id": folder.name, "manifest": token})
        if announced.receipt:
            return announced.receipt
        self._tell(folder)
        for part in announced.parts:
            if self._runtime.stop.is_set():
                return None
            self._put(folder, part)
        receipt = self._post(f"/v1/objects/{folder.name}/complete", {}).receipt
        if not receipt:
            raise RecordError(f"ingest: no receipt for clip {folder.name}", "the clip stays and is offered again")
        self.uploaded += 1
        self._runtime.report(uploaded=self.uploaded)
        return receipt

    def _hand_over(self, clip: str, receipt: str | None) -> LyktaError | None:
        """The receipt to the camera, which frees the clip; if it is away, the ingest gives the receipt again."""
        if receipt is None:
            return None
        try:
            ask(self._runtime.layout.socket("camera", "uplink"), {"verb": "receipt", "jws": receipt}, timeout=10)
        except LyktaError as problem:
            return problem
        self._told.discard(clip)
        return None

    def _put(self, folder: Path, part: Part) -> None:
        if part.done:
            return
        with _open(folder / part.file) as file:
            file.seek(part.offset)
            body = file.read(part.size)
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        self._client.call("PUT", part.url, body, Content_MD5=md5)

    def _post(self, path: str, body: dict[str, Any]) -> Announced:
        said = self._client.call("POST", path, json.dumps(body).encode(), Content_Type="application/json")
        try:
            return msgspec.convert(said, Announced)
        except msgspec.ValidationError as problem:
            raise RecordError(f"ingest: {problem}", "is this lykta-central's ingest, of a version that fits?") from problem

    def _tell(self, folder: Path) -> None:
        if folder.name in self._told:
            return
        self._told.add(folder.name)
        size = sum(path.stat().st_size for path in folder.glob("*.age"))
        try:
            self._outbox.put(ClipNote(folder.name, "uploading", "", "", size))
        except StorageError as problem:
            # A disk without room for the note is the best reason to upload.
            self._runtime.log("warning", f"upload: {problem}", hint=problem.hint)

    def _say(self, trouble: LyktaError | None) -> None:
        """Each trouble once in the log, the last one in the status."""
        text = str(trouble or "")
        if trouble and text != self._trouble and not self._runtime.stop.is_set():
            self._runtime.log("warning", f"upload: {text}", hint=trouble.hint)
        self._trouble = text
        self._runtime.report(upload_error=text)

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
