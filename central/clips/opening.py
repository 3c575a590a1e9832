"""Verifies and decrypts stored clips. Decryption needs the identity, which only the centre has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile, mkstemp
from typing import IO

import pyrage

from central.clips.checking import Proof, check_masks, check_pictures
from central.clips.memory_limit import memory_limited
from central.clips.torn_clips import EMPTY_TAIL, LONGEST, TailPart, check_checkpoint, read_tail
from central.keys.access_log import Officer, log_access
from central.keys.key_folder import authority_with_retired, read
from privacy.errors import EnrolmentError, RecordError, SealError, UsageError
from privacy.files import open_file
from privacy.files import read as read_file
from privacy.records.jws import Authority, sha256_hex
from privacy.records.manifest import (
    CLIP,
    MANIFEST_FILE,
    MASKS,
    RECEIPT_FILE,
    TAIL,
    Manifest,
    Receipt,
    SealedFile,
    read_manifest,
    read_receipt,
)

_BLOCK = 1 << 20


@dataclass(frozen=True)
class VerifiedClip:
    """A clip whose signature, certificate chain, hashes and receipt are valid.

    token        the signed manifest
    signer       SITE/NODE
    receipt      None if there is none in the folder
    checkpoint   for a torn clip: the last manifest that the camera signed before the power cut, if any
    checked      what was checked, a line each
    """

    manifest: Manifest
    token: bytes
    signer: str
    receipt: Receipt | None
    checkpoint: Manifest | None
    checked: tuple[str, ...]


def check_clip(folder: Path, keys: Path) -> VerifiedClip:
    """Check all that needs no decryption: manifest, certificate chain, receipt, sizes and hashes of the sealed files.

    `RecordError` for an invalid record, `SealError` for a changed or missing file.
    """
    trusted = authority_with_retired(keys)
    token = _token(folder / MANIFEST_FILE)
    manifest, signer = read_manifest(token, trusted)
    if signer.name != f"{manifest.site}/{manifest.node}":
        raise RecordError(f"manifest: node: signed by {signer.name} for {manifest.site}/{manifest.node}", "not that node's clip")
    for file in manifest.files:
        _check_file(folder / file.name, file)
    checkpoint = check_checkpoint(folder, manifest, trusted)
    receipt = _check_receipt(folder, token, manifest, trusted)
    checked = ["manifest signature, certificate chain and role", "size and sha256 of the sealed files"]
    checked += [signed_before(checkpoint)] if checkpoint else []
    return VerifiedClip(manifest, token, signer.name, receipt, checkpoint, (*checked, *(["receipt"] if receipt else [])))


def signed_before(checkpoint: Manifest) -> str:
    """A line about how much of a torn clip the camera had signed before the power cut."""
    size = next((file.size for file in checkpoint.files if file.name == CLIP), 0)
    seconds = (checkpoint.end - checkpoint.begin).total_seconds() if size else 0.0
    return f"checkpoint: before the cut the camera had signed the first {size} bytes of {CLIP}, {seconds:.1f} s of the clip"


def open_clip(folder: Path, keys: Path, target: Path, officer: Officer) -> VerifiedClip:
    """Verify a clip, write the access log's entry, then decrypt the video to `target`, which appears only when it is complete.

    A clip torn by a power cut lacks the final chunk of the age format: its complete chunks and its tail are decrypted, and its
    manifest says that it is torn. Any other clip without the final chunk is refused.
    """
    verified = check_clip(folder, keys)
    if not target.parent.is_dir():
        raise UsageError(f"open: {target.parent}: no such folder", "make it first")
    if target.exists() or target.is_symlink():
        raise UsageError(f"open: {target}: exists already", "name another file; nothing is overwritten")
    log_access(keys, "open", {"clip": verified.manifest.clip, "manifest_sha256": sha256_hex(verified.token)}, officer)
    try:
        with _written_whole(target) as clear:
            decrypt(folder, CLIP, keys, verified.manifest, clear)
    except OSError as problem:
        raise UsageError(f"open: {target}: {problem.strerror}", "choose a folder you may write to") from problem
    return verified


@contextmanager
def _written_whole(target: Path) -> Iterator[IO[bytes]]:
    """A temporary file, readable by its owner only, that is renamed to `target` at the end of the block. Made exclusively, so that
    no link is followed."""
    descriptor, part = mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w+b") as clear:
            yield clear
        Path(part).rename(target)
    finally:
        Path(part).unlink(missing_ok=True)


def prove_clip(folder: Path, keys: Path, verified: VerifiedClip, progress: Callable[[int], None]) -> Proof:
    """Decrypt video and mask records of a verified clip into unnamed temporary files, and compare every picture with its record.

    progress   called with the number of pictures checked so far
    """
    manifest = verified.manifest
    with TemporaryFile() as video, TemporaryFile() as masks:
        decrypt(folder, MASKS, keys, manifest, masks)
        decrypt(folder, CLIP, keys, manifest, video)
        video.seek(0)
        with memory_limited(f"clip {manifest.clip}"):
            return check_pictures(video, masks, check_masks(masks, manifest), manifest, progress)


def decrypt(folder: Path, name: str, keys: Path, manifest: Manifest, clear: IO[bytes]) -> None:
    """Decrypt clip.age or masks.age into `clear`; of a torn clip its complete chunks and its tail. `SealError` if that fails.

    clear   an empty file, opened for reading and writing
    """
    torn, identities = manifest.state == "torn", _identities(keys)
    with _sealed_file(folder / name, torn=torn) as sealed:
        pyrage.decrypt_io(sealed, clear, identities)
    if torn:
        _read_tail_file(folder, manifest, identities)[name].append_to(clear, name)
    if name == CLIP and not clear.tell():
        raise SealError(f"{folder / name}: cannot be opened: no whole chunk of the video reached the disk", "the clip is empty")


def _read_tail_file(folder: Path, manifest: Manifest, identities: list[pyrage.x25519.Identity]) -> Mapping[str, TailPart]:
    file = next((file for file in manifest.files if file.name == TAIL), None)
    if file is None:
        return EMPTY_TAIL
    if file.size > LONGEST:
        raise SealError(f"{TAIL}: is longer than any tail ({file.size} bytes)", "the clip must not be used")
    clear = BytesIO()
    with _sealed_file(folder / TAIL, torn=False) as sealed:
        pyrage.decrypt_io(sealed, clear, identities)
    return read_tail(clear.getvalue())


@contextmanager
def _sealed_file(path: Path, *, torn: bool) -> Iterator[IO[bytes]]:
    """Open a sealed file; errors in the block become `SealError`, except the premature end of a torn file."""
    try:
        with open_file(path, path.name) as sealed:
            yield sealed
    except pyrage.DecryptError as problem:
        raise SealError(f"{path}: cannot be opened: {problem}", "is it sealed to another identity?") from problem
    except OSError as problem:
        # pyrage's error for a premature end has no errno; errors of the system, such as a full disk, have one.
        if problem.errno is not None or not torn:
            raise SealError(f"{path}: cannot be opened: {problem}", "the file is cut, or the disk is full") from problem


def _identities(keys: Path) -> list[pyrage.x25519.Identity]:
    """All identities in the folder: the current one, earlier ones, and custodians'."""
    lines = [line.strip() for path in sorted(keys.glob("identity*.txt")) for line in read(path).decode().splitlines()]
    try:
        identities = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError as problem:
        raise RecordError(f"identity: {keys}: {problem}", "a line looks like AGE-SECRET-KEY-1…") from problem
    if not identities:
        raise EnrolmentError(
            f"keys: {keys}: holds no identity*.txt", "clips cannot be decrypted without an identity; see docs/KEY-DRILLS.md"
        )
    return identities


def _token(path: Path) -> bytes:
    try:
        return read_file(path, "manifest")
    except OSError as problem:
        raise RecordError(f"{path}: {problem.strerror}", "name the clip's folder: clip.age, masks.age, manifest.jws") from problem


def _check_file(path: Path, file: SealedFile) -> None:
    digest = hashlib.sha256()
    try:
        with open_file(path, path.name) as sealed:
            size = os.fstat(sealed.fileno()).st_size
            while block := sealed.read(_BLOCK):
                digest.update(block)
    except OSError as problem:
        raise SealError(f"{path.name}: {problem.strerror}", "the clip is incomplete") from problem
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise SealError(f"{path.name}: sha256: differs from the manifest", "the file was changed or is torn; do not use it")


def _check_receipt(folder: Path, token: bytes, manifest: Manifest, trusted: Authority) -> Receipt | None:
    path = folder / RECEIPT_FILE
    if not path.exists():
        return None
    receipt = read_receipt(read_file(path, "receipt"), trusted)
    if receipt.record_sha256 != sha256_hex(token) or receipt.files != manifest.files:
        raise RecordError("receipt: is for another manifest", "the folder's files do not belong together")
    return receipt
