"""Signed records about uploaded objects: the manifest of a clip, the parcel of any other object, and the centre's receipt.

While a clip is being recorded its manifest is the checkpoint: the same record with `state = "open"`, signed every ten seconds for
the sealed bytes so far. The manifest of a clip that a power cut ended contains the last checkpoint, so that an auditor can see
which bytes the camera had signed before the cut.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.foreign import END
from privacy.records.basis import Label, Moment
from privacy.records.jws import Authority, Party, verify_issued

MANIFEST_FILE, PARCEL_FILE, RECEIPT_FILE, HOLD_FILE = "manifest.jws", "parcel.jws", "receipt.jws", "hold.jws"
"""Names of signed records beside what they are about, in a clip's folder, on a stick and in the centre's store."""
MANIFEST = "lykta-manifest"
PARCEL = "lykta-parcel"
RECEIPT = "lykta-receipt"
PART = 5 * 1024 * 1024
"""Bytes of one part of an upload, the smallest that S3 allows; the last part of a file may be shorter."""
LARGEST = 2 << 30
"""Bytes of one sealed file, at most; the longest clip at the highest rate has a third of that."""
Sha256 = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}{END}")]
ClipId = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{8}}-[0-9a-f]{{4}}-7[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}{END}")]
FileName = Annotated[str, Meta(pattern=rf"^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*{END}", max_length=64)]
Text = Annotated[str, Meta(max_length=200)]
Pixels = Annotated[int, Meta(ge=2, le=4096)]
Frames = Annotated[int, Meta(ge=0, le=100_000)]
Milliseconds = Annotated[int, Meta(ge=0, le=10**13)]
Kind = Literal["clip", "journal", "report", "diag"]
CLIP, MASKS, TAIL = "clip.age", "masks.age", "tail.age"
"""Video; mask records; for a torn clip only, the bytes of both that do not fill a chunk (see `privacy.records.seal.Tail`)."""


class SealedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of an object as stored on the disk: its name, size in bytes and hash."""

    name: FileName
    size: Annotated[int, Meta(ge=0, le=LARGEST)]
    sha256: Sha256


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a court or an auditor needs to know about one clip. It contains no picture.

    state        open: being recorded; torn: ended by a power cut
    full         number of fully masked frames by cause
    previous     hash of the previous clip's manifest
    checkpoint   of a torn clip: the last checkpoint, a compact JWS, which states the bytes signed before the power cut
    """

    clip: ClipId
    site: Label
    node: Label
    area: Text
    state: Literal["open", "complete", "torn"]
    trigger: Text
    begin: Moment
    end: Moment
    time_error_ms: Milliseconds
    mono_ms: Milliseconds
    boot_id: Text
    clock: Literal["synced", "holdover", "unknown"]
    width: Pixels
    height: Pixels
    frames: Frames
    full: Annotated[dict[Text, Frames], Meta(max_length=64)]
    profile: Text
    stack: Text
    models: Annotated[dict[Text, Sha256], Meta(max_length=32)]
    zones_sha256: Sha256
    basis: Text
    view: Text
    deadline: Moment
    recipients: Annotated[tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(max_length=32)]
    files: Annotated[tuple[SealedFile, ...], Meta(max_length=3)]
    previous: Annotated[str, Meta(pattern=rf"^([0-9a-f]{{64}})?{END}")]
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
    """An object other than a clip: a closed journal segment, a report or a diagnosis. Never a picture.

    unit    the unit that signed it, which is the role of its certificate
    facts   for a journal segment: `unit`, `first`, `last`, `head` (hash of its last line), `previous` (hash of the line before it)
    """

    id: ClipId
    kind: Literal["journal", "report", "diag"]
    site: Label
    node: Label
    unit: Literal["camera", "io", "uplink", "retention"]
    t: Moment
    files: Annotated[tuple[SealedFile, ...], Meta(min_length=1, max_length=8)]
    facts: Annotated[dict[Text, Text | Annotated[int, Meta(ge=0, le=10**10 - 1)]], Meta(max_length=16)]


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """The centre's confirmation that it has stored exactly these files of an object. The node deletes an object after upload only
    with its receipt.

    record_sha256   hash of the object's signed manifest or parcel
    """

    id: ClipId
    kind: Kind
    site: Label
    node: Label
    record_sha256: Sha256
    files: Annotated[tuple[SealedFile, ...], Meta(max_length=8)]
    received: Moment


def read_manifest(token: bytes, authority: Authority) -> tuple[Manifest, Party]:
    """The manifest and its signer, if a camera signed it and its certificate was valid at that time; otherwise `RecordError`."""
    return verify_issued(token, MANIFEST, authority, "camera", Manifest, lambda manifest: manifest.begin)


def read_parcel(token: bytes, authority: Authority) -> tuple[Parcel, Party]:
    """The parcel and its signer, if the unit named in it signed it; otherwise `RecordError`."""
    return verify_issued(token, PARCEL, authority, lambda parcel: parcel.unit, Parcel, lambda parcel: parcel.t)


def read_object(kind: Kind, token: bytes, authority: Authority) -> tuple[Manifest | Parcel, Party]:
    """The manifest or parcel of an object, and its signer; `RecordError` if it is not valid, or of another kind."""
    record, party = read_manifest(token, authority) if kind == "clip" else read_parcel(token, authority)
    if record.kind != kind:
        raise RecordError(f"object: kind: is a {record.kind} (got {kind})", "announce it with its own kind")
    return record, party


def read_receipt(token: bytes, authority: Authority) -> Receipt:
    """The receipt, if the centre signed it; otherwise `RecordError`."""
    return verify_issued(token, RECEIPT, authority, "receipt", Receipt, lambda receipt: receipt.received)[0]
