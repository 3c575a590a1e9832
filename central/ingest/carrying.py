"""Imports objects from a folder, for instance a USB stick that `lykta clips copy DIR` filled, by the same steps as over HTTP.

The content of the folder is not trusted: folders and files are opened by descriptor, no link is followed, and only files that
the signed record names are read.
"""

from __future__ import annotations

import base64
import hashlib
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from central.ingest.intake import AnnounceRequest, Intake
from central.store.port import Part, owner
from privacy.errors import LyktaError, RecordError, UsageError
from privacy.files import PUBLIC
from privacy.folders import Folder, opened
from privacy.records.jws import peek
from privacy.records.manifest import (
    MANIFEST,
    MANIFEST_FILE,
    PARCEL,
    PARCEL_FILE,
    PART,
    RECEIPT_FILE,
    Kind,
    Manifest,
    Parcel,
    SealedFile,
)

_RECORDS = (MANIFEST_FILE, PARCEL_FILE)
_MOST = 100_000
"""Most names in the folder."""


@dataclass(frozen=True)
class Imported:
    """The result for one object: taken (its receipt was written into its folder), or refused with reason and hint."""

    id: str
    result: Literal["taken", "refused"]
    reason: str = ""
    hint: str = ""


def import_folder(folder: Path, intake: Intake, progress: Callable[[str], None]) -> Iterator[Imported]:
    """Import each object below `folder`, yielding its result; a refused one does not stop the others. May be repeated.

    progress   called before each object with a line of text
    `UsageError` if there is no such folder, or more than `_MOST` names in it.
    """
    if not folder.is_dir():
        raise UsageError(f"ingest: {folder}: no such folder", "name the one that `lykta clips copy` filled")
    with opened(folder) as stick:
        found = [name for name in _names(stick, folder) if _is_object(stick, name)]
        for number, name in enumerate(found, 1):
            progress(f"{number} of {len(found)}: {name}")
            yield _import(stick, name, intake)


def _import(stick: Folder, name: str, intake: Intake) -> Imported:
    try:
        with stick.folder(name) as one:
            one.place(RECEIPT_FILE, _announce_and_send(one, name, intake), mode=PUBLIC)
        return Imported(name, "taken")
    except LyktaError as problem:
        return Imported(name, "refused", str(problem), problem.hint)
    except OSError as problem:
        return Imported(name, "refused", f"{name}: {problem.strerror}", "is the folder still there, and is it writable?")


def _names(stick: Folder, folder: Path) -> list[str]:
    names = stick.names(_MOST + 1)
    if len(names) > _MOST:
        raise UsageError(f"ingest: {folder}: more than {_MOST} names", "spread the objects over several folders")
    return names


def _is_object(stick: Folder, name: str) -> bool:
    """Whether it is a folder with a record. One that cannot be read counts as an object, so that it is refused with the reason."""
    try:
        if not stat.S_ISDIR(stick.facts(name).st_mode):
            return False
        with stick.folder(name) as one:
            return any(_has(one, record) for record in _RECORDS)
    except (RecordError, OSError):
        return True


def _has(folder: Folder, name: str) -> bool:
    """Whether anything has that name. Anything but a plain file is refused later, not skipped."""
    with suppress(FileNotFoundError):
        folder.facts(name)
        return True
    return False


def _announce_and_send(one: Folder, name: str, intake: Intake) -> bytes:
    """Announce one object, send its missing parts, and return the receipt. The node is known by the record's signature alone."""
    token, kind, record = _record(one)
    node = owner(record)
    md5 = {file.name: tuple(_md5(data) for data in _parts(one, name, file)) for file in record.files}
    state = intake.announce(AnnounceRequest(kind, record.id, token, md5), node)
    if state.receipt is None:
        for part in state.parts:
            if not part.done:
                _send(one, part, record.id, node, intake)
        intake.ledger.note("carried", node=node, object=record.id, what=record.kind)
    return intake.complete(record.id, node)


def _record(one: Folder) -> tuple[str, Kind, Manifest | Parcel]:
    if one.is_file(MANIFEST_FILE):
        token = one.read(MANIFEST_FILE, "manifest")
        return token.decode(errors="replace"), "clip", peek(token, MANIFEST, Manifest)
    token = one.read(PARCEL_FILE, "parcel")
    parcel = peek(token, PARCEL, Parcel)
    return token.decode(errors="replace"), parcel.kind, parcel


def _send(one: Folder, part: Part, name: str, node: str, intake: Intake) -> None:
    writer = intake.part_writer(name, part.file, part.part, node)
    if writer is None:
        return
    with one.open(part.file, part.file) as file, writer:
        file.seek(part.offset)
        data = file.read(part.size)
        writer.write(data)
        writer.keep(_md5(data))


def _parts(one: Folder, name: str, file: SealedFile) -> Iterator[bytes]:
    """The bytes of a file, part by part; an empty file is one empty part. `RecordError` if its size is not the record's."""
    try:
        size = one.facts(file.name).st_size
    except FileNotFoundError as problem:
        raise RecordError(f"{name}: {file.name}: is missing", "copy the object again") from problem
    if size != file.size:
        raise RecordError(f"{name}: {file.name}: has {size} bytes, not {file.size}", "copy the object again")
    with one.open(file.name, file.name) as source:
        yield source.read(min(PART, file.size))
        for at in range(PART, file.size, PART):
            yield source.read(min(PART, file.size - at))


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
