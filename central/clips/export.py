"""Exports clips: makes a folder that the police or an auditor can check with standard tools alone (R33, R33b).

protocol.html                              for people: who, why, when, what, and how to check it
protocol.json .signed .sig, -chain.pem     the same, signed by the officer; names the hashes of video and sealed clip
ca.pem SHA256SUMS
<clip id>/video.mp4                        the masked video, decrypted
<clip id>/clip.age masks.age …             the sealed files as the camera signed them
<clip id>/manifest.json .signed .sig, chain.pem      and manifest.jws; receipt.… likewise
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from msgspec import Struct

from central.clips.checking import Proof
from central.clips.opening import VerifiedClip, check_clip, decrypt, prove_clip
from central.keys.access_log import Officer, log_access
from central.keys.key_folder import authority_with_retired
from central.keys.officers import authorize, check_two_people
from privacy.errors import UsageError
from privacy.files import CLOSED, PRIVATE, create, make_folder, make_folder_in, on_disk, open_file, place, read, sync_folder
from privacy.folders import opened
from privacy.records.journal import Fact, Head
from privacy.records.jws import certificates_of, kind_of, sha256_hex, sign
from privacy.records.manifest import CLIP, RECEIPT_FILE, SealedFile

EXPORT = "lykta-export"
VIDEO = "video.mp4"
Ground = Literal["crime", "accident", "data_subject"]
GROUNDS: tuple[Ground, ...] = get_args(Ground)
"""Grounds of the Secrecy Act (OSL) 32:3. The controller's own decision is not one."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ExportRequest:
    """Why and to whom clips are handed out, and who decided it. `UsageError` if a field is missing or contradicts another."""

    ground: Ground
    offence: str
    case: str
    decided: str
    to: str

    def __post_init__(self) -> None:
        if self.ground not in GROUNDS:
            raise UsageError(f"export: ground: must be {', '.join(GROUNDS)} (got {self.ground!r})", "OSL 32:3 has no other")
        if (self.ground == "crime") != bool(self.offence.strip()):
            raise UsageError(
                f"export: offence: needed for ground crime, and only there (got {self.offence!r})",
                "an offence that can lead to prison",
            )
        for name in ("case", "decided", "to"):
            if not 0 < len(getattr(self, name).strip()) <= 200:
                raise UsageError(f"export: {name}: must have 1 to 200 characters", "the protocol names it")


class ExportedClip(Struct, frozen=True, forbid_unknown_fields=True):
    """One clip of an export: hashes of its signed manifest and sealed video, and the decrypted video file."""

    clip: str
    manifest_sha256: str
    sealed_sha256: str
    video: SealedFile


class Protocol(Struct, frozen=True, forbid_unknown_fields=True):
    """What the officer signs. log: head of the access log after this export's first entry; t: when."""

    ground: Ground
    offence: str
    case: str
    decided: str
    performed: str
    to: str
    t: datetime
    clips: tuple[ExportedClip, ...]
    log: str


@dataclass(frozen=True)
class PageClip:
    """What the protocol page shows about a clip."""

    verified: VerifiedClip
    proof: Proof
    exported: ExportedClip


Page = Callable[[Protocol, Sequence[PageClip], Sequence[str]], str]


def export(
    clips: Sequence[Path],
    keys: Path,
    request: ExportRequest,
    name: str | None,
    target: Path,
    page: Page,
    progress: Callable[[int, int], None],
) -> Protocol:
    """Make the folder `target`; after an error it does not exist. `AccessError` if the officer may not export.

    Two entries go into the access log: before a clip is opened, and before the folder gets its name.
    name       the officer; None or empty: the only one with a key in `keys`
    page       makes the protocol page
    progress   called with the number of checked pictures of a clip, and how many there are
    """
    if target.exists() or not target.parent.is_dir():
        raise UsageError(f"export: {target}: must be a new folder in an existing one", "name another")
    officer = authorize(keys, name, "export", {"clips": " ".join(clip.name for clip in clips)[:400], "case": request.case})
    check_two_people(request.decided, officer.name)
    checked = [check_clip(clip, keys) for clip in clips]
    ids = [one.manifest.clip for one in checked]
    if len(set(ids)) != len(ids):
        raise UsageError("export: clips: one is named twice", "name each once")
    why: dict[str, Fact] = {"case": request.case, "ground": request.ground, "offence": request.offence, "decided": request.decided}
    head = log_access(keys, "export", {"clips": " ".join(ids), "to": request.to, **why}, officer)
    with _written_whole(target) as part:
        shown = []
        for clip, verified in zip(clips, checked, strict=True):
            shown.append(_clip(clip, keys, verified, part / verified.manifest.clip, progress))
        protocol = _protocol(request, officer, shown, head)
        _unpack(part, "protocol", sign(protocol, officer.signer, EXPORT), "protocol-chain.pem")
        _write(part / "ca.pem", b"".join(ca.public_bytes(serialization.Encoding.PEM) for ca in authority_with_retired(keys).cas))
        _write(part / "protocol.html", page(protocol, shown, fingerprints(keys)).encode())
        sums = _sums(part)
        _write(part / "SHA256SUMS", sums)
        log_access(keys, "handed_out", {"clips": " ".join(ids), "sums_sha256": sha256_hex(sums), **why}, officer)
    return protocol


def fingerprints(keys: Path) -> list[str]:
    """SHA-256 fingerprints of the CA certificates as openssl prints them, to compare with those that the municipality publishes."""
    return [ca.fingerprint(hashes.SHA256()).hex(":").upper() for ca in authority_with_retired(keys).cas]


def _protocol(request: ExportRequest, officer: Officer, shown: Sequence[PageClip], head: Head) -> Protocol:
    return Protocol(
        request.ground,
        request.offence,
        request.case,
        request.decided,
        officer.name,
        request.to,
        datetime.now(UTC).replace(microsecond=0),
        tuple(one.exported for one in shown),
        str(head),
    )


def _clip(source: Path, keys: Path, verified: VerifiedClip, folder: Path, progress: Callable[[int, int], None]) -> PageClip:
    """Check, decrypt and write one clip's folder, with all files needed to verify it."""
    manifest = verified.manifest
    proof = prove_clip(source, keys, verified, lambda number: progress(number, manifest.frames))
    make_folder(folder, CLOSED)
    for file in manifest.files:
        _copy(source / file.name, folder / file.name)
    _unpack(folder, "manifest", verified.token, "chain.pem")
    if verified.receipt:
        _unpack(folder, "receipt", read(source / RECEIPT_FILE, "receipt"), "receipt-chain.pem")
    with os.fdopen(create(folder / VIDEO, PRIVATE), "w+b") as clear:
        decrypt(source, CLIP, keys, manifest, clear)
        clear.flush()
        os.fsync(clear.fileno())
    sealed = next(file.sha256 for file in manifest.files if file.name == CLIP)
    video = SealedFile(VIDEO, (folder / VIDEO).stat().st_size, _digest(folder / VIDEO))
    return PageClip(verified, proof, ExportedClip(manifest.clip, sha256_hex(verified.token), sealed, video))


def unpack(token: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Split a compact JWS for openssl: canonical payload, signed bytes, signature in DER, certificate chain in PEM.

    In a JWS an ES256 signature is two numbers of 32 bytes (RFC 7518 section 3.4); openssl needs them in ASN.1.
    """
    signed, _, signature = token.strip().rpartition(b".")
    payload = signed.partition(b".")[2]
    raw = _decoded(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    return _decoded(payload), signed, der, _chain(token)


def _unpack(folder: Path, name: str, token: bytes, chain: str) -> None:
    parts = unpack(token)
    files = (f"{name}.json", f"{name}.signed", f"{name}.sig", chain)
    for file, data in zip((*files, f"{name}.jws"), (*parts, token), strict=True):
        _write(folder / file, data)


def _chain(token: bytes) -> bytes:
    """The certificates in a record's header, in PEM, leaf first."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates_of(token, kind_of(token)))


def _decoded(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _sums(folder: Path) -> bytes:
    """The content of SHA256SUMS, for `sha256sum -c`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{_digest(path)}  {path.relative_to(folder)}\n" for path in files).encode()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, data: bytes) -> None:
    place(path, data, mode=PRIVATE)


def _copy(source: Path, target: Path) -> None:
    with open_file(source, source.name) as file, os.fdopen(create(target, PRIVATE), "wb") as copy:
        shutil.copyfileobj(file, copy, _BLOCK)
        copy.flush()
        os.fsync(copy.fileno())


@contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `target` at the end of the block, or deleted after an error."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with on_disk(f"export: {target}", "free space or choose another folder"):
            with opened(target.parent) as above:
                make_folder_in(above.descriptor, part.name, CLOSED)
            yield part
            for folder in (part, *part.glob("*/")):
                sync_folder(folder)
            part.rename(target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
