"""What is signed about what leaves the node: the manifest of a clip, the parcel of anything else, and the centre's receipt.

The manifest of a running clip is its checkpoint: the same record with `state = "open"`, signed anew every ten seconds over
the sealed bytes so far. A clip torn by a power cut carries the last one inside its own manifest, so that an auditor sees
up to which byte the camera had signed before the cut.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.records import Authority, Party, verify_issued

MANIFEST = "lykta-manifest"
PARCEL = "lykta-parcel"
RECEIPT = "lykta-receipt"
PART = 5 * 1024 * 1024
"""Bytes of one part of an upload; the last one of a file may be shorter. The least that S3 allows."""
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
ClipId = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
FileName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*$", max_length=64)]
Kind = Literal["clip", "journal", "report", "diag"]
CLIP, MASKS, TAIL = "clip.age", "masks.age", "tail.age"
"""Video; mask records; of a torn clip only, what both had not yet filled a chunk with (see `privacy.seal.Tail`)."""


class SealedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of an object as it stands on the disk: its size in bytes and the hash of those bytes."""

    name: FileName
    size: Annotated[int, Meta(ge=0)]
    sha256: Sha256


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a court or an auditor needs to know about one clip, without a picture in it.

    checkpoint   of a torn clip: the last checkpoint, a compact JWS; it says which bytes were signed before the cut
    """

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
    checkpoint: str = ""

    def __post_init__(self) -> None:
        if not {file.name for file in self.files} <= {CLIP, MASKS, TAIL}:
            raise ValueError("files: a clip has clip.age, masks.age and, if torn, tail.age")

    @property
    def id(self) -> str:
        return self.clip

    @property
    def kind(self) -> Kind:
        return "clip"


class Parcel(Struct, frozen=True, forbid_unknown_fields=True):
    """An object that is no clip: a closed journal segment, a report, a diagnosis. Never a picture.

    unit    who packed and signed it: its certificate has this role
    facts   of a journal segment: `unit`, `first`, `last`, `head` (hash of its last line), `previous` (of the line before it)
    """

    id: ClipId
    kind: Literal["journal", "report", "diag"]
    site: str
    node: str
    unit: str
    t: datetime
    files: Annotated[tuple[SealedFile, ...], Meta(min_length=1, max_length=8)]
    facts: dict[str, str | int]


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """The centre holds these very files of this object; only this frees it on the node.

    record_sha256   of the signed manifest or parcel that the object came with
    """

    id: ClipId
    kind: Kind
    site: str
    node: str
    record_sha256: Sha256
    files: tuple[SealedFile, ...]
    received: datetime


def read_manifest(token: bytes, authority: Authority) -> tuple[Manifest, Party]:
    """The manifest and who signed it, if a camera did with a certificate of our CA that was valid then; or `RecordError`."""
    return verify_issued(token, MANIFEST, authority, "camera", Manifest, lambda manifest: manifest.begin)


def read_parcel(token: bytes, authority: Authority) -> tuple[Parcel, Party]:
    """The parcel and who signed it, if the unit did that it names; or `RecordError`."""
    return verify_issued(token, PARCEL, authority, lambda parcel: parcel.unit, Parcel, lambda parcel: parcel.t)


def read_object(kind: Kind, token: bytes, authority: Authority) -> tuple[Manifest | Parcel, Party]:
    """The record of an object of that kind; `RecordError` also where it is of another."""
    record, party = read_manifest(token, authority) if kind == "clip" else read_parcel(token, authority)
    if record.kind != kind:
        raise RecordError(f"object: kind: is a {record.kind} (got {kind})", "announce it as what it is")
    return record, party


def read_receipt(token: bytes, authority: Authority) -> Receipt:
    """The receipt, if the centre signed it; or `RecordError`."""
    return verify_issued(token, RECEIPT, authority, "receipt", Receipt, lambda receipt: receipt.received)[0]
