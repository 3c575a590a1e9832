"""What is signed about a clip: the manifest by the camera's key, the receipt by the centre.

The manifest of a running clip is its checkpoint: the same record with `state = "open"`, so that a clip torn by a power
cut can be finished from it without guessing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from privacy.records import Authority, Party, verify_issued

MANIFEST = "lykta-manifest"
RECEIPT = "lykta-receipt"
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
ClipId = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
FileName = Literal["clip.age", "masks.age"]


class SealedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One sealed file of a clip: its size in bytes and the hash of the sealed bytes."""

    name: FileName
    size: int
    sha256: Sha256


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a court or an auditor needs to know about one clip, without a picture in it."""

    clip: ClipId
    site: str
    node: str
    area: str
    state: Literal["open", "complete", "torn"]
    trigger: str
    begin: datetime
    end: datetime
    time_error_ms: int
    mono_ms: int
    boot_id: str
    clock: Literal["synced", "holdover", "unknown"]
    width: int
    height: int
    frames: int
    full: dict[str, int]
    profile: str
    stack: str
    models: dict[str, Sha256]
    zones_sha256: Sha256
    basis: str
    view: str
    deadline: datetime
    recipients: tuple[str, ...]
    files: tuple[SealedFile, ...]
    previous: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")]


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """The centre holds these very files of this clip; only this frees the clip on the node."""

    clip: ClipId
    site: str
    node: str
    manifest_sha256: Sha256
    files: tuple[SealedFile, ...]
    received: datetime


def read_manifest(token: bytes, authority: Authority) -> tuple[Manifest, Party]:
    """The manifest and who signed it, if a camera did with a certificate of our CA that was valid then; or `RecordError`."""
    return verify_issued(token, MANIFEST, authority, "camera", Manifest, lambda manifest: manifest.begin)


def read_receipt(token: bytes, authority: Authority) -> Receipt:
    """The receipt, if the centre signed it; or `RecordError`."""
    return verify_issued(token, RECEIPT, authority, "receipt", Receipt, lambda receipt: receipt.received)[0]
