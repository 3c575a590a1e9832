"""Opening and verifying clips at the centre, the only place that can."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import pyrage

from central.checking import Proof, check_masks, check_pictures
from central.keys import authority, read
from privacy.errors import RecordError, SealError, UsageError
from privacy.manifest import Manifest, Receipt, SealedFile, read_manifest, read_receipt
from privacy.records import Authority, sha256_hex

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Verified:
    """A clip whose signature, chain, receipt and hashes hold."""

    manifest: Manifest
    signer: str
    receipt: Receipt | None
    checked: tuple[str, ...]


def check_clip(folder: Path, keys: Path) -> Verified:
    """Everything that can be checked without opening: manifest, chain, receipt, sizes and hashes of the sealed files."""
    trusted = authority(keys)
    token = _token(folder / "manifest.jws")
    manifest, signer = read_manifest(token, trusted)
    if signer.name != f"{manifest.site}/{manifest.node}":
        raise RecordError(f"manifest: node: signed by {signer.name} for {manifest.site}/{manifest.node}", "not that node's clip")
    for file in manifest.files:
        _check_file(folder / file.name, file)
    receipt = _check_receipt(folder, token, manifest, trusted)
    checked = ["manifest signature, certificate chain and role", "size and sha256 of the sealed files"]
    return Verified(manifest, signer.name, receipt, (*checked, *(["receipt"] if receipt else [])))


def open_clip(folder: Path, keys: Path, target: Path) -> Verified:
    """Verify, then decrypt the video to a file that appears only when it is whole.

    A clip that a power cut tore ends without its last chunk's mark: what stands before it is given out, and its manifest
    says that it is torn. Any other clip without that mark is refused.
    """
    verified = check_clip(folder, keys)
    if not target.parent.is_dir():
        raise UsageError(f"open: {target.parent}: no such folder", "make it first")
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as clear:
            _decrypt(folder / "clip.age", clear, _identity(keys), torn=verified.manifest.state == "torn")
        part.replace(target)
    except OSError as problem:
        raise UsageError(f"open: {target}: {problem.strerror}", "choose a folder you may write to") from problem
    finally:
        part.unlink(missing_ok=True)
    return verified


def prove_clip(folder: Path, keys: Path, verified: Verified, progress: Callable[[int], None]) -> Proof:
    """Open video and mask records of a checked clip into files without a name, and check every picture against them.

    progress   called with the number of pictures checked so far
    """
    manifest, identity = verified.manifest, _identity(keys)
    with TemporaryFile() as video, TemporaryFile() as masks:
        _decrypt(folder / "masks.age", masks, identity, torn=manifest.state == "torn")
        told = check_masks(masks, manifest)
        _decrypt(folder / "clip.age", video, identity, torn=manifest.state == "torn")
        video.seek(0)
        return check_pictures(video, masks, told, manifest, progress)


def _decrypt(path: Path, clear: IO[bytes], identity: pyrage.x25519.Identity, *, torn: bool) -> None:
    """The clear bytes, all of them, or of a torn file those of its whole chunks; `SealError` otherwise."""
    try:
        with path.open("rb") as sealed:
            pyrage.decrypt_io(sealed, clear, [identity])
    except pyrage.DecryptError as problem:
        raise SealError(f"{path}: cannot be opened: {problem}", "sealed to another identity?") from problem
    except OSError as problem:
        # A stream that breaks off has no number; one of the system's own (a full disk) has.
        if problem.errno is not None or not torn:
            raise SealError(f"{path}: cannot be opened: {problem}", "the file is cut, or there is no room to open it") from problem
    if path.name == "clip.age" and not clear.tell():
        raise SealError(f"{path}: cannot be opened: no whole chunk of the video reached the disk", "there is nothing to see in it")


def _identity(keys: Path) -> pyrage.x25519.Identity:
    try:
        return pyrage.x25519.Identity.from_str(read(keys / "identity.txt").decode().strip())
    except pyrage.IdentityError as problem:
        raise RecordError(f"identity: {keys / 'identity.txt'}: {problem}", "name the folder that keygen made") from problem


def _token(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise RecordError(f"{path}: {problem.strerror}", "name the clip's folder: clip.age, masks.age, manifest.jws") from problem


def _check_file(path: Path, file: SealedFile) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as sealed:
            while block := sealed.read(_BLOCK):
                digest.update(block)
        size = path.stat().st_size
    except OSError as problem:
        raise SealError(f"{path.name}: {problem.strerror}", "the clip is incomplete") from problem
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise SealError(f"{path.name}: sha256: is not what the manifest says", "the file was changed or is torn; do not use it")


def _check_receipt(folder: Path, token: bytes, manifest: Manifest, trusted: Authority) -> Receipt | None:
    path = folder / "receipt.jws"
    if not path.exists():
        return None
    receipt = read_receipt(path.read_bytes(), trusted)
    if receipt.record_sha256 != sha256_hex(token) or receipt.files != manifest.files:
        raise RecordError("receipt: is for another manifest", "the folder's files do not belong together")
    return receipt
