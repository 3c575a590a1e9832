"""The centre's store: a local folder. Parts arrive in `incoming`, finished objects stand at <site>/<node>/<clip>/.

Constant memory; absent or complete; a restart goes on from what is on the disk. An S3-compatible store comes with a later
issue behind the same few calls.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from privacy.errors import SealError, UsageError
from privacy.files import place, sync_folder
from privacy.manifest import Manifest, SealedFile

PART = 5 * 1024 * 1024
_BLOCK = 1 << 20


class Part(Struct, frozen=True):
    """One piece of a sealed file: where it begins, its bytes, where to PUT it, whether it is here."""

    file: str
    part: int
    offset: int
    size: int
    url: str
    done: bool


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._clear()

    def home(self, manifest: Manifest) -> Path:
        return self.folder / manifest.site / manifest.node / manifest.clip

    def token(self, clip: str) -> bytes | None:
        """The signed manifest that this object was announced with."""
        path = self._incoming / clip / "manifest.jws"
        if path.exists():
            return path.read_bytes()
        done = next(self.folder.glob(f"*/*/{clip}/manifest.jws"), None)
        return done.read_bytes() if done else None

    def receipt(self, manifest: Manifest) -> bytes | None:
        path = self.home(manifest) / "receipt.jws"
        return path.read_bytes() if path.exists() else None

    def announce(self, clip: str, token: bytes) -> None:
        folder = self._incoming / clip
        folder.mkdir(exist_ok=True)
        place(folder / "manifest.jws", token)

    def parts(self, manifest: Manifest) -> list[Part]:
        """The pieces of all files, in order."""
        return [part for file in manifest.files for part in self._parts_of(manifest.clip, file)]

    async def put(self, clip: str, part: Part, body: AsyncIterator[bytes], md5: str) -> None:
        """Take one piece; `SealError` if it is not what was announced."""
        path = self._part_path(clip, part.file, part.part)
        temporary = path.with_name(f".{path.name}.part")
        digest, size = hashlib.md5(usedforsecurity=False), 0
        with temporary.open("wb") as file:
            async for block in body:
                size += len(block)
                if size > part.size:
                    raise UsageError(
                        f"part {part.part}: longer than the {part.size} bytes announced", "read the list of parts again"
                    )
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if size != part.size or base64.b64encode(digest.digest()).decode() != md5:
            temporary.unlink()
            raise SealError(f"part {part.part}: Content-MD5 or size differs from what arrived", "send this part again")
        temporary.replace(path)
        sync_folder(path.parent)

    def assemble(self, manifest: Manifest, token: bytes, receipt: bytes) -> None:
        """Join the pieces, check them against the manifest, and only then let the object appear with its receipt.

        `SealError` if a file is not what the manifest says; its pieces are then dropped, to be sent again.
        """
        incoming, ready = self._incoming / manifest.clip, self._incoming / f".{manifest.clip}.ready"
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        for file in manifest.files:
            if self._join(manifest.clip, file, ready / file.name) != file.sha256:
                for part in self._parts_of(manifest.clip, file):
                    self._part_path(manifest.clip, part.file, part.part).unlink(missing_ok=True)
                raise SealError(f"{file.name}: sha256: is not what the manifest says", "send its parts again")
        place(ready / "manifest.jws", token)
        place(ready / "receipt.jws", receipt)
        home = self.home(manifest)
        home.parent.mkdir(parents=True, exist_ok=True)
        ready.replace(home)
        sync_folder(home.parent)
        shutil.rmtree(incoming)

    def _clear(self) -> None:
        """What a crash left behind of objects that are complete, or were being joined: it must not outlive them (R27)."""
        for folder in self._incoming.iterdir():
            if folder.is_dir() and (folder.name.startswith(".") or any(self.folder.glob(f"*/*/{folder.name}/receipt.jws"))):
                shutil.rmtree(folder)

    def _join(self, clip: str, file: SealedFile, target: Path) -> str:
        digest = hashlib.sha256()
        with target.open("wb") as out:
            for part in self._parts_of(clip, file):
                with self._part_path(clip, part.file, part.part).open("rb") as piece:
                    while block := piece.read(_BLOCK):
                        digest.update(block)
                        out.write(block)
            out.flush()
            os.fsync(out.fileno())
        return digest.hexdigest()

    def _parts_of(self, clip: str, file: SealedFile) -> list[Part]:
        count = max(1, -(-file.size // PART))
        return [
            Part(
                file.name,
                n,
                (n - 1) * PART,
                min(PART, file.size - (n - 1) * PART),
                f"/v1/objects/{clip}/parts/{file.name}/{n}",
                self._part_path(clip, file.name, n).exists(),
            )
            for n in range(1, count + 1)
        ]

    def _part_path(self, clip: str, file: str, number: int) -> Path:
        return self._incoming / clip / f"{file}.{number:06}"
