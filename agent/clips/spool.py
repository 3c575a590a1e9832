"""Clips on the node's disk, sealed: <clip id>/{clip.age, masks.age, manifest.jws}. A clip is complete once its manifest is there.

While a clip runs, checkpoint.jws holds its signed manifest so far and tail.age the bytes of the unfinished chunk, so that a power
cut costs at most the last second. Orders add hold.jws, release.jws and export.jws to a clip's folder; the receipt of a clip
under a hold is stored there too.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import msgspec

from agent.clips.index import CLIP_ID, IndexEntry, add_entry, clip_names, read_entries, rewrite
from privacy.errors import RecordError, SealError, StorageError
from privacy.files import create, make_folder, on_disk, open_file, place, read, read_own, sync_folder
from privacy.folders import remove
from privacy.records.jws import Authority, Signer, sha256_hex, sign
from privacy.records.manifest import CLIP, MANIFEST, MANIFEST_FILE, MASKS, TAIL, Manifest, SealedFile, read_manifest, read_receipt
from privacy.records.seal import Recipient, Seal, head_size, seal_tail, whole_size

_CHECKPOINT, _INDEX = "checkpoint.jws", "index"
_FREED = ".freed-"
_HASH = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20


class SealedSink:
    """One sealed file of a running clip: created exclusively, synced on request, hashed while it is written."""

    def __init__(self, path: Path, recipients: Sequence[Recipient]) -> None:
        self._name = path.name
        self._descriptor = create(path)
        try:
            self.seal = Seal(self, recipients)
        except BaseException:
            self.abandon()
            raise
        self.feed = self.seal.write

    @property
    def file(self) -> SealedFile:
        """Size and hash of the bytes so far, for a checkpoint."""
        return SealedFile(self._name, self.seal.size, self.seal.sha256)

    def write(self, data: bytes, /) -> int:
        """Write bytes that are sealed already; a short write is continued until the disk refuses."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        return len(data)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> SealedFile:
        """Write the last chunk and close; size and hash returned are of bytes on the disk."""
        self.seal.close()
        os.fsync(self._descriptor)
        self.abandon()
        return self.file

    def abandon(self) -> None:
        """Close the file as it is. A late write by a failing muxer then fails, instead of reaching another file's descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class Spool:
    """All clips of a node. Used from several threads; deleting also from another process, under the keeper's lock."""

    def __init__(self, folder: Path, signer: Signer, authority: Authority) -> None:
        self.folder, self._signer, self._authority = folder, signer, authority
        self._head, self._index = folder / "head", folder / _INDEX
        self._lock = Lock()
        self._running: set[str] = set()
        ready_folder(folder)

    @property
    def previous(self) -> str:
        """Hash of the last manifest, which the next one contains; empty for the first clip of a node.

        If its file is damaged, taken from the newest clip here; if there is none, the centre finds the gap.
        """
        try:
            noted = read_own(self._head).decode(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError:  # no file, or on a bad spot of the card
            return self._newest()
        return noted if _HASH.fullmatch(noted) else self._newest()

    def _newest(self) -> str:
        return next((sha256_hex(read_own(self.folder / clip / MANIFEST_FILE)) for clip in reversed(self.clips())), "")

    def clips(self) -> list[str]:
        """Ids of complete clips, oldest first."""
        return clip_names(self.folder, MANIFEST_FILE)

    def finished_or_torn(self) -> list[str]:
        """Ids of all clips that are not running in this process, oldest first."""
        return [clip for clip in clip_names(self.folder, MANIFEST_FILE, _CHECKPOINT) if clip not in self._running]

    def torn(self) -> list[str]:
        """Ids of clips that were not finished and are not running in this process."""
        whole = set(self.clips())
        return [clip for clip in clip_names(self.folder, _CHECKPOINT) if clip not in self._running and clip not in whole]

    def count(self) -> int:
        """Number of clips in any state, without reading their files."""
        with os.scandir(self.folder) as found:
            return sum(CLIP_ID.fullmatch(entry.name) is not None for entry in found)

    # -- a running clip ------------------------------------------------------------------------------------------------

    def begin(self, opened: Manifest, recipients: Sequence[Recipient]) -> tuple[SealedSink, SealedSink]:
        """A new clip's folder with its checkpoint, and its two sealed files."""
        folder = self.folder / opened.clip
        make_folder(folder)
        self._running.add(opened.clip)
        with ExitStack() as undo:
            video = SealedSink(folder / CLIP, recipients)
            undo.callback(video.abandon)
            masks = SealedSink(folder / MASKS, recipients)
            undo.callback(masks.abandon)
            # Last, because it syncs the folder, which then contains the names of both files.
            place(folder / _CHECKPOINT, sign(opened, self._signer, MANIFEST))
            sync_folder(self.folder)
            undo.pop_all()
        return video, masks

    def sync(self, clip: str, video: SealedSink, masks: SealedSink) -> None:
        """When this returns, everything written so far survives a power cut."""
        video.sync()
        masks.sync()
        place(self.folder / clip / TAIL, seal_tail(video.seal, masks.seal))

    def checkpoint(self, so_far: Manifest, video: SealedSink, masks: SealedSink) -> None:
        """Sign what is on the disk of a running clip; call it right after `sync`."""
        signed = msgspec.structs.replace(so_far, files=(video.file, masks.file))
        place(self.folder / so_far.clip / _CHECKPOINT, sign(signed, self._signer, MANIFEST))

    def finish(self, manifest: Manifest, report: Callable[[Manifest], None] = lambda _manifest: None) -> Manifest:
        """Sign the manifest of a clip whose files are closed; from now on the clip is complete. Returns it as signed.

        report   called then; the checkpoint stays until it returns, and after a power cut `repair` reports the clip again
        """
        with self._lock:
            chained = msgspec.structs.replace(manifest, previous=self.previous)
            token = sign(chained, self._signer, MANIFEST)
            place(self.folder / manifest.clip / MANIFEST_FILE, token)
            place(self._head, sha256_hex(token).encode())
            with suppress(OSError):  # a cache: a missing entry costs a read of the manifest
                add_entry(self._index, IndexEntry.of(chained))
            self._running.discard(manifest.clip)
        report(chained)
        with suppress(OSError):  # the clip is complete and reported; the next start removes these files
            self._tidy(chained)
        return chained

    # -- after a power cut ---------------------------------------------------------------------------------------------

    def repair(self, report: Callable[[Manifest], None]) -> None:
        """Finish what a crash interrupted: begun deletions, folders without a record, manifests just written.

        report   called with those manifests: they may not have been reported yet
        """
        for path in self.folder.iterdir():
            if path.name.startswith(_FREED) or (CLIP_ID.fullmatch(path.name) and not _recorded(path)):
                # These files are no clip any more; the next start and `lykta retention` try again to delete them.
                remove(path)
        for clip in clip_names(self.folder, _CHECKPOINT):
            if (self.folder / clip / MANIFEST_FILE).exists():
                with suppress(RecordError, OSError):  # a damaged or unreadable manifest: the sweep reports it
                    self._settle(self.manifest(clip), report)
        kept = set(self.clips())
        entries = read_entries(self._index)
        if len(entries) > 2 * len(kept) + 100:
            rewrite(self._index, (entries[clip] for clip in sorted(kept & entries.keys())))

    def recover(self, clip: str, now: datetime, report: Callable[[Manifest], None] = lambda _manifest: None) -> Manifest:
        """Finish a clip that a power cut interrupted: cut the incomplete chunk, hash the rest, sign it as torn.

        Raises `SealError` if not even a header reached the disk; the clip is then deleted and the caller reports it.
        """
        folder = self.folder / clip
        token, opened = self._read(clip, _CHECKPOINT)
        files = [_trim(folder / name) for name in (CLIP, MASKS)]
        if (folder / TAIL).exists():
            files.append(SealedFile(TAIL, *_digest(folder / TAIL)))
        last = max(opened.begin, min(_written(folder / CLIP, now), now))
        whole = msgspec.structs.replace(opened, state="torn", end=last, files=tuple(files), checkpoint=token.decode())
        return self.finish(whole, report)

    def _settle(self, manifest: Manifest, report: Callable[[Manifest], None]) -> None:
        """Complete a `finish` that was interrupted: the chain's head may be older, and the clip may not have been reported."""
        if self.previous == manifest.previous:
            place(self._head, sha256_hex(read_own(self.folder / manifest.clip / MANIFEST_FILE)).encode())
        report(manifest)
        self._tidy(manifest)

    def _tidy(self, manifest: Manifest) -> None:
        """Remove the files that only a running clip needs, the checkpoint last."""
        folder = self.folder / manifest.clip
        if TAIL not in {file.name for file in manifest.files}:
            (folder / TAIL).unlink(missing_ok=True)
        for part in folder.glob(".*.part"):
            part.unlink()
        (folder / _CHECKPOINT).unlink(missing_ok=True)
        sync_folder(folder)

    # -- complete clips ------------------------------------------------------------------------------------------------

    def manifest(self, clip: str) -> Manifest:
        """The verified manifest of a complete clip, or the checkpoint of one that was not finished."""
        name = MANIFEST_FILE if (self.folder / clip / MANIFEST_FILE).exists() else _CHECKPOINT
        return self._read(clip, name)[1]

    def entries(self) -> dict[str, IndexEntry]:
        """Entries of the index, by clip id; some clips may be deleted already, and some may have no entry."""
        return read_entries(self._index)

    def check_receipt(self, token: bytes) -> Manifest:
        """The manifest of the clip that a receipt of the centre allows to delete; `RecordError` if there is none."""
        receipt = read_receipt(token, self._authority)
        path = self.folder / receipt.id / MANIFEST_FILE
        if not path.exists():
            raise RecordError(f"receipt: clip: no such clip here (got {receipt.id})", "it was freed before, or is another node's")
        manifest = self.manifest(receipt.id)
        if receipt.record_sha256 != sha256_hex(read_own(path)) or receipt.files != manifest.files:
            raise RecordError("receipt: is for other bytes than this node holds", "upload the clip again")
        return manifest

    def free(self, clip: str) -> None:
        """Delete a clip, by one rename that is on the disk when this returns, so that no half-deleted clip reappears.

        Raises `StorageError` if files cannot be removed.
        """
        folder, gone = self.folder / clip, self.folder / f"{_FREED}{clip}"
        with on_disk(folder, "repair the disk; the clip is deleted as soon as the disk allows it"), self._lock:
            if folder.exists():
                folder.rename(gone)
            sync_folder(self.folder)
            kept = remove(gone)
        if kept:
            raise StorageError(f"{gone}: {kept[0]}", "repair the disk; the clip is deleted as soon as the disk allows it")
        self._running.discard(clip)

    def clear_freed(self) -> None:
        """Remove the files of deleted clips that a crash or the disk kept; `StorageError` if that fails again."""
        kept = [f"{path}: {one}" for path in sorted(self.folder.glob(f"{_FREED}*")) for one in remove(path)]
        if kept:
            raise StorageError(kept[0], "repair the disk")

    # -- marks ---------------------------------------------------------------------------------------------------------

    def mark(self, clip: str, mark: str, token: bytes) -> None:
        """Store a signed order or receipt with a clip: hold, hold-<number>, release, export or receipt."""
        path = self.folder / clip / f"{mark}.jws"
        with on_disk(path):
            place(path, token)

    def unmark(self, clip: str, mark: str) -> None:
        (self.folder / clip / f"{mark}.jws").unlink(missing_ok=True)
        sync_folder(self.folder / clip)

    def marked(self, clip: str, mark: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return read(self.folder / clip / f"{mark}.jws", f"{clip}: {mark}")
        return None

    def has_mark(self, clip: str, mark: str) -> bool:
        return (self.folder / clip / f"{mark}.jws").exists()

    def marks(self, clip: str, begin: str) -> list[str]:
        """Names of a clip's marks with this prefix, sorted."""
        return sorted(path.stem for path in (self.folder / clip).glob(f"{begin}*.jws"))

    def _read(self, clip: str, name: str) -> tuple[bytes, Manifest]:
        path = self.folder / clip / name
        with on_disk(path, "`lykta clips list` shows what is there"):
            token = read(path, f"{clip}: {name}")
        return token, read_manifest(token, self._authority)[0]


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare the sealed files with their manifest; `SealError` names the first one that differs."""
    for file in manifest.files:
        found = _digest(folder / file.name)
        if found != (file.size, file.sha256):
            raise SealError(f"{file.name}: sha256: is not what the manifest says", "the file was changed or is torn")


def _written(path: Path, otherwise: datetime) -> datetime:
    """When a file was last written; `otherwise` if its inode has no valid date."""
    with suppress(ValueError, OverflowError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return otherwise


def _recorded(folder: Path) -> bool:
    return any((folder / name).exists() for name in (MANIFEST_FILE, _CHECKPOINT))


def ready_folder(folder: Path) -> None:
    """Make a folder that is needed for clips; `StorageError` if the disk refuses."""
    with on_disk(f"{folder}: cannot be made", "free space or repair the disk"):
        make_folder(folder)


def is_full(problem: BaseException) -> bool:
    """Whether a write failed for lack of space, which waiting and deleting can solve."""
    return isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)


def _trim(path: Path) -> SealedFile:
    """Cut a sealed file to whole chunks and sync it: the manifest that follows names these bytes."""
    with open_file(path, path.name, write=True) as file:
        head = head_size(file.read(64 * 1024))
        os.ftruncate(file.fileno(), whole_size(head, path.stat().st_size))
        os.fsync(file.fileno())
    return SealedFile(path.name, *_digest(path))


def _digest(path: Path) -> tuple[int, str]:
    found = hashlib.sha256()
    try:
        with open_file(path, path.name) as file:
            while block := file.read(_BLOCK):
                found.update(block)
        return path.stat().st_size, found.hexdigest()
    except FileNotFoundError as problem:
        raise SealError(f"{path.name}: is missing", "the clip is damaged") from problem
