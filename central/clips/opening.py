"""Opening and verifying clips at the centre, the only place that can."""

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
from central.clips.memory_limit import bounded
from central.clips.torn_clips import LONGEST, NOTHING, Stretch, check_checkpoint, read_tail
from central.keys.access_log import Officer, note
from central.keys.key_folder import evidence, read
from privacy.errors import EnrolmentError, RecordError, SealError, UsageError
from privacy.files import open_file
from privacy.files import read as read_file
from privacy.records.jws import Authority, sha256_hex
from privacy.records.manifest import CLIP, MASKS, TAIL, Manifest, Receipt, SealedFile, read_manifest, read_receipt

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Verified:
    """A clip whose signature, chain, receipt and hashes hold.

    checkpoint   of a torn clip: what the camera had signed before the cut
    """

    manifest: Manifest
    token: bytes
    signer: str
    receipt: Receipt | None
    checkpoint: Manifest | None
    checked: tuple[str, ...]


def check_clip(folder: Path, keys: Path) -> Verified:
    """Everything that can be checked without opening: manifest, chain, receipt, sizes and hashes of the sealed files."""
    trusted = evidence(keys)
    token = _token(folder / "manifest.jws")
    manifest, signer = read_manifest(token, trusted)
    if signer.name != f"{manifest.site}/{manifest.node}":
        raise RecordError(f"manifest: node: signed by {signer.name} for {manifest.site}/{manifest.node}", "not that node's clip")
    for file in manifest.files:
        _check_file(folder / file.name, file)
    checkpoint = check_checkpoint(folder, manifest, trusted)
    receipt = _check_receipt(folder, token, manifest, trusted)
    checked = ["manifest signature, certificate chain and role", "size and sha256 of the sealed files"]
    checked += [signed_before(checkpoint)] if checkpoint else []
    return Verified(manifest, token, signer.name, receipt, checkpoint, (*checked, *(["receipt"] if receipt else [])))


def signed_before(checkpoint: Manifest) -> str:
    """How far the camera had signed a torn clip before the cut, in words."""
    size = next((file.size for file in checkpoint.files if file.name == CLIP), 0)
    seconds = (checkpoint.end - checkpoint.begin).total_seconds() if size else 0.0
    return f"checkpoint: before the cut the camera had signed the first {size} bytes of {CLIP}, {seconds:.1f} s of the clip"


def open_clip(folder: Path, keys: Path, target: Path, officer: Officer) -> Verified:
    """Verify, note it in the access log, then decrypt the video to a file that appears only when it is whole.

    A clip that a power cut tore ends without its last chunk's mark: what stands before it is given out with its tail, and its
    manifest says that it is torn. Any other clip without that mark is refused.
    """
    verified = check_clip(folder, keys)
    if not target.parent.is_dir():
        raise UsageError(f"open: {target.parent}: no such folder", "make it first")
    if target.exists() or target.is_symlink():
        raise UsageError(f"open: {target}: exists already", "name another file; nothing is overwritten")
    note(keys, "open", {"clip": verified.manifest.clip, "manifest_sha256": sha256_hex(verified.token)}, officer)
    try:
        with _appearing(target) as clear:
            decrypt(folder, CLIP, keys, verified.manifest, clear)
    except OSError as problem:
        raise UsageError(f"open: {target}: {problem.strerror}", "choose a folder you may write to") from problem
    return verified


@contextmanager
def _appearing(target: Path) -> Iterator[IO[bytes]]:
    """A file for its owner alone that gets its name when it is whole; made exclusively, so that no link is written through."""
    descriptor, part = mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w+b") as clear:
            yield clear
        Path(part).rename(target)
    finally:
        Path(part).unlink(missing_ok=True)


def prove_clip(folder: Path, keys: Path, verified: Verified, progress: Callable[[int], None]) -> Proof:
    """Open video and mask records of a checked clip into files without a name, and check every picture against them.

    progress   called with the number of pictures checked so far
    """
    manifest = verified.manifest
    with TemporaryFile() as video, TemporaryFile() as masks:
        decrypt(folder, MASKS, keys, manifest, masks)
        decrypt(folder, CLIP, keys, manifest, video)
        video.seek(0)
        with bounded(f"clip {manifest.clip}"):
            return check_pictures(video, masks, check_masks(masks, manifest), manifest, progress)


def decrypt(folder: Path, name: str, keys: Path, manifest: Manifest, clear: IO[bytes]) -> None:
    """The clear bytes of clip.age or masks.age, all of them; of a torn clip those of whole chunks and of its tail.

    `SealError` otherwise. clear: empty, to be read and written.
    """
    torn, identities = manifest.state == "torn", _identities(keys)
    with _named(folder / name, torn=torn) as sealed:
        pyrage.decrypt_io(sealed, clear, identities)
    if torn:
        _tail(folder, manifest, identities)[name].join(clear, name)
    if name == CLIP and not clear.tell():
        raise SealError(f"{folder / name}: cannot be opened: no whole chunk of the video reached the disk", "nothing to see in it")


def _tail(folder: Path, manifest: Manifest, identities: list[pyrage.x25519.Identity]) -> Mapping[str, Stretch]:
    file = next((file for file in manifest.files if file.name == TAIL), None)
    if file is None:
        return NOTHING
    if file.size > LONGEST:
        raise SealError(f"{TAIL}: is longer than any tail ({file.size} bytes)", "the clip must not be used")
    clear = BytesIO()
    with _named(folder / TAIL, torn=False) as sealed:
        pyrage.decrypt_io(sealed, clear, identities)
    return read_tail(clear.getvalue())


@contextmanager
def _named(path: Path, *, torn: bool) -> Iterator[IO[bytes]]:
    """A sealed file; what goes wrong while it is decrypted becomes a `SealError`, but for the end of a torn one."""
    try:
        with open_file(path, path.name) as sealed:
            yield sealed
    except pyrage.DecryptError as problem:
        raise SealError(f"{path}: cannot be opened: {problem}", "sealed to another identity?") from problem
    except OSError as problem:
        # A stream that breaks off has no number; one of the system's own (a full disk) has.
        if problem.errno is not None or not torn:
            raise SealError(f"{path}: cannot be opened: {problem}", "the file is cut, or there is no room to open it") from problem


def _identities(keys: Path) -> list[pyrage.x25519.Identity]:
    """The identity in force, those before it, and any custodian's that was put beside them."""
    lines = [line.strip() for path in sorted(keys.glob("identity*.txt")) for line in read(path).decode().splitlines()]
    try:
        identities = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError as problem:
        raise RecordError(f"identity: {keys}: {problem}", "a line looks like AGE-SECRET-KEY-1…") from problem
    if not identities:
        raise EnrolmentError(f"keys: {keys}: holds no identity*.txt", "without an identity no clip opens; see docs/KEY-DRILLS.md")
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
        raise SealError(f"{path.name}: sha256: is not what the manifest says", "the file was changed or is torn; do not use it")


def _check_receipt(folder: Path, token: bytes, manifest: Manifest, trusted: Authority) -> Receipt | None:
    path = folder / "receipt.jws"
    if not path.exists():
        return None
    receipt = read_receipt(read_file(path, "receipt"), trusted)
    if receipt.record_sha256 != sha256_hex(token) or receipt.files != manifest.files:
        raise RecordError("receipt: is for another manifest", "the folder's files do not belong together")
    return receipt
