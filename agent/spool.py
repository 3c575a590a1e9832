"""Clips on the node's disk, sealed: <clip id>/{clip.age, masks.age, manifest.jws}. A clip is complete once its manifest is there.

While a clip runs, checkpoint.jws holds its signed manifest so far, so that a power cut leaves a torn clip that can be
finished at the next start and not a riddle.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock

import msgspec

from privacy.errors import RecordError, SealError, StorageError
from privacy.files import make_folder, place, sync_folder
from privacy.manifest import CLIP, MANIFEST, MASKS, FileName, Manifest, SealedFile, read_manifest, read_receipt
from privacy.records import Authority, Signer, sha256_hex, sign
from privacy.seal import Recipient, Seal, head_size, whole_size

_BLOCK = 1 << 20


class SealedSink:
    """One sealed file of a running clip: created exclusively, synced when asked, hashed as it grows."""

    def __init__(self, path: Path, recipients: Sequence[Recipient]) -> None:
        self._name = path.name
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._seal = Seal(self, recipients)
        self.feed = self._seal.write

    def write(self, data: bytes, /) -> int:
        """Bytes that are sealed already; a short write goes on until the disk refuses."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        return len(data)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> SealedFile:
        """End the seal; what is returned is on the disk."""
        self._seal.close()
        os.fsync(self._descriptor)
        self.abandon()
        return SealedFile(self._name, self._seal.size, self._seal.sha256)

    def abandon(self) -> None:
        """Close the file as it is. A late write of a dying muxer then meets no file instead of somebody else's."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class Spool:
    """All clips of a node. Used from several threads."""

    def __init__(self, folder: Path, signer: Signer, authority: Authority) -> None:
        self.folder, self._signer, self._authority = folder, signer, authority
        self._head = folder / "head"
        self._lock = Lock()
        make_folder(folder)

    @property
    def previous(self) -> str:
        """Hash of the last manifest, which the next one carries; empty for the first clip of a node."""
        return self._head.read_text() if self._head.exists() else ""

    def clips(self) -> list[str]:
        """Ids of complete clips, oldest first: a UUIDv7 sorts by time."""
        return sorted(path.parent.name for path in self.folder.glob("*/manifest.jws"))

    def torn(self) -> list[str]:
        """Clips that a crash left on their way in: `recover` finishes them."""
        return sorted(path.parent.name for path in self.folder.glob("*/checkpoint.jws"))

    def stumps(self) -> list[str]:
        """Folders that a crash left before there was a clip in them, or on its way out: `free` ends them."""
        whole = {*self.clips(), *self.torn()}
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and path.name not in whole)

    def used(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*/*"))

    def begin(self, opened: Manifest, recipients: Sequence[Recipient]) -> tuple[SealedSink, SealedSink]:
        """A new clip's folder with its checkpoint, and its two sealed files."""
        folder = self.folder / opened.clip
        folder.mkdir(mode=0o750)
        sinks = SealedSink(folder / CLIP, recipients), SealedSink(folder / MASKS, recipients)
        # Last, because it syncs the folder with the names of both files.
        place(folder / "checkpoint.jws", sign(opened, self._signer, MANIFEST))
        sync_folder(self.folder)
        return sinks

    def finish(self, manifest: Manifest) -> Manifest:
        """Sign the manifest of a clip whose files are closed; from now on the clip is complete. Returns it as signed."""
        with self._lock:
            chained = msgspec.structs.replace(manifest, previous=self.previous)
            token = sign(chained, self._signer, MANIFEST)
            place(self.folder / manifest.clip / "manifest.jws", token)
            self._settle(manifest.clip, token)
        return chained

    def _settle(self, clip: str, token: bytes) -> None:
        """The checkpoint goes last: where it still stands beside a manifest, the head may be an older one."""
        place(self._head, sha256_hex(token).encode())
        (self.folder / clip / "checkpoint.jws").unlink(missing_ok=True)
        sync_folder(self.folder / clip)

    def manifest(self, clip: str) -> Manifest:
        """The verified manifest of a complete clip."""
        return self._read(clip, "manifest.jws")

    def recover(self, clip: str, now: datetime) -> Manifest:
        """Finish a clip that a power cut tore: cut the torn chunk, hash what stands, sign it as torn.

        Raises `SealError` if not even a header reached the disk; the clip is then gone and the caller says so.
        """
        path = self.folder / clip / "manifest.jws"
        if path.exists():
            self._settle(clip, path.read_bytes())
            return self.manifest(clip)
        opened = self._read(clip, "checkpoint.jws")
        files = tuple(_trim(self.folder / clip / name, name) for name in (CLIP, MASKS))
        end = datetime.fromtimestamp((self.folder / clip / CLIP).stat().st_mtime, opened.begin.tzinfo)
        last = max(opened.begin, min(end, now))
        return self.finish(msgspec.structs.replace(opened, state="torn", end=last, files=files))

    def check_receipt(self, token: bytes) -> Manifest:
        """The manifest of the clip that a receipt of the centre frees; `RecordError` if it frees none."""
        receipt = read_receipt(token, self._authority)
        path = self.folder / receipt.id / "manifest.jws"
        if not path.exists():
            raise RecordError(f"receipt: clip: no such clip here (got {receipt.id})", "it was freed before, or is another node's")
        manifest = self.manifest(receipt.id)
        if receipt.record_sha256 != sha256_hex(path.read_bytes()) or receipt.files != manifest.files:
            raise RecordError("receipt: is for other bytes than this node holds", "upload the clip again")
        return manifest

    def free(self, clip: str) -> None:
        """Delete a clip, or what is left of it: its manifest first, so that no half-deleted clip ever looks complete."""
        folder = self.folder / clip
        try:
            with self._lock:
                (folder / "manifest.jws").unlink(missing_ok=True)
                if folder.exists():
                    shutil.rmtree(folder)
                sync_folder(self.folder)
        except OSError as problem:
            raise StorageError(
                f"{folder}: {problem.strerror}", "mend the disk; the clip is deleted as soon as it lets go"
            ) from problem

    def _read(self, clip: str, name: str) -> Manifest:
        path = self.folder / clip / name
        try:
            token = path.read_bytes()
        except OSError as problem:
            raise StorageError(f"{path}: {problem.strerror}", "`lykta clips list` shows what is there") from problem
        return read_manifest(token, self._authority)[0]


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare the sealed files with their manifest; `SealError` names the first one that differs."""
    for file in manifest.files:
        found = _digest(folder / file.name)
        if found != (file.size, file.sha256):
            raise SealError(f"{file.name}: sha256: is not what the manifest says", "the file was changed or is torn")


def is_full(problem: BaseException) -> bool:
    """Whether a write failed because there is no room, which waiting and deleting can mend."""
    return isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)


def _trim(path: Path, name: FileName) -> SealedFile:
    with path.open("r+b") as file:
        head = head_size(file.read(64 * 1024))
        file.truncate(whole_size(head, path.stat().st_size))
        # What a killed process left may be in memory only; it is signed next.
        os.fsync(file.fileno())
    size, digest = _digest(path)
    return SealedFile(name, size, digest)


def _digest(path: Path) -> tuple[int, str]:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
        return path.stat().st_size, found.hexdigest()
    except FileNotFoundError as problem:
        raise SealError(f"{path.name}: is missing", "the clip is damaged") from problem
