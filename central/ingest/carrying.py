"""Objects that came on a stick: the same way in as over the network, by hand (`lykta clips copy DIR` filled it).

Whoever had the stick may have put anything on it: folders and files are opened by descriptor, no link is followed, and nothing is
read that the signed record does not announce.
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

from central.ingest.intake import Intake, Wanted
from central.store.port import Part, owner
from privacy.errors import LyktaError, RecordError, UsageError
from privacy.files import PUBLIC
from privacy.folders import Folder, opened
from privacy.records.jws import peek
from privacy.records.manifest import MANIFEST, PARCEL, PART, Kind, Manifest, Parcel, SealedFile

_RECORDS = ("manifest.jws", "parcel.jws")
_MOST = 100_000
"""Names in the folder."""


@dataclass(frozen=True)
class Carried:
    """What came of one folder: taken (its receipt lies beside it now) or refused, and why."""

    id: str
    result: Literal["taken", "refused"]
    reason: str = ""
    hint: str = ""


def carry(folder: Path, intake: Intake, progress: Callable[[str], None]) -> Iterator[Carried]:
    """Take each object below `folder`; one that is refused keeps no other waiting. May be broken off and begun again."""
    if not folder.is_dir():
        raise UsageError(f"ingest: {folder}: no such folder", "name the one that `lykta clips copy` filled")
    with opened(folder) as stick:
        found = [name for name in _names(stick, folder) if _is_object(stick, name)]
        for number, name in enumerate(found, 1):
            progress(f"{number} of {len(found)}: {name}")
            yield _carry(stick, name, intake)


def _carry(stick: Folder, name: str, intake: Intake) -> Carried:
    try:
        with stick.folder(name) as one:
            one.place("receipt.jws", _take(one, name, intake), mode=PUBLIC)
        return Carried(name, "taken")
    except LyktaError as problem:
        return Carried(name, "refused", str(problem), problem.hint)
    except OSError as problem:
        return Carried(name, "refused", f"{name}: {problem.strerror}", "is the folder there still, and may you write to it?")


def _names(stick: Folder, folder: Path) -> list[str]:
    names = stick.names(_MOST + 1)
    if len(names) > _MOST:
        raise UsageError(f"ingest: {folder}: more than {_MOST} names", "spread what lies there over several folders")
    return names


def _is_object(stick: Folder, name: str) -> bool:
    """Whether it is a folder with a record. One that cannot be looked at counts: it is then refused with the reason."""
    try:
        if not stat.S_ISDIR(stick.facts(name).st_mode):
            return False
        with stick.folder(name) as one:
            return any(_has(one, record) for record in _RECORDS)
    except (RecordError, OSError):
        return True


def _has(folder: Folder, name: str) -> bool:
    """Whether anything has that name, also what is no file: that is refused, not passed over."""
    with suppress(FileNotFoundError):
        folder.facts(name)
        return True
    return False


def _take(one: Folder, name: str, intake: Intake) -> bytes:
    """The receipt. Who made it is known from the signature alone: nobody stands at the other end."""
    token, kind, record = _record(one)
    node = owner(record)
    md5 = {file.name: tuple(_md5(data) for data in _pieces(one, name, file)) for file in record.files}
    state = intake.announce(Wanted(kind, record.id, token, md5), node)
    if state.receipt is None:
        for part in state.parts:
            if not part.done:
                _send(one, part, record.id, node, intake)
        intake.ledger.note("carried", node=node, object=record.id, what=record.kind)
    return intake.complete(record.id, node)


def _record(one: Folder) -> tuple[str, Kind, Manifest | Parcel]:
    if one.is_file("manifest.jws"):
        token = one.read("manifest.jws", "manifest")
        return token.decode(errors="replace"), "clip", peek(token, MANIFEST, Manifest)
    token = one.read("parcel.jws", "parcel")
    parcel = peek(token, PARCEL, Parcel)
    return token.decode(errors="replace"), parcel.kind, parcel


def _send(one: Folder, part: Part, name: str, node: str, intake: Intake) -> None:
    piece = intake.piece(name, part.file, part.part, node)
    if piece is None:
        return
    with one.open(part.file, part.file) as file, piece:
        file.seek(part.offset)
        data = file.read(part.size)
        piece.write(data)
        piece.keep(_md5(data))


def _pieces(one: Folder, name: str, file: SealedFile) -> Iterator[bytes]:
    """A file in parts, as many bytes as its record says; an empty one is one empty part."""
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
