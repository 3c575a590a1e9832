"""Objects that came on a stick: the same way in as over the network, by hand (`lykta clips copy DIR` filled it)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from central.intake import Intake, Wanted
from central.store import Part, owner
from privacy.errors import LyktaError, RecordError, StorageError, UsageError
from privacy.files import place
from privacy.manifest import MANIFEST, PARCEL, PART, Kind, Manifest, Parcel
from privacy.records import peek


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
    found = sorted(path.parent for name in ("manifest.jws", "parcel.jws") for path in folder.glob(f"*/{name}"))
    for number, one in enumerate(found, 1):
        progress(f"{number} of {len(found)}: {one.name}")
        try:
            place(one / "receipt.jws", _take(one, intake))
            yield Carried(one.name, "taken")
        except LyktaError as problem:
            yield Carried(one.name, "refused", str(problem), problem.hint)
        except OSError as problem:
            raise StorageError(
                f"ingest: {one}: {problem.strerror}", "is the folder there still, and may you write to it?"
            ) from problem


def _take(folder: Path, intake: Intake) -> bytes:
    """The receipt. Who made it is known from the signature alone: nobody stands at the other end."""
    token, kind, record = _record(folder)
    node = owner(record)
    md5 = {file.name: tuple(_md5(data) for data in _pieces(folder / file.name)) for file in record.files}
    state = intake.announce(Wanted(kind, record.id, token, md5), node)
    if state.receipt is None:
        for part in state.parts:
            if not part.done:
                _send(folder, part, record.id, node, intake)
        intake.ledger.note("carried", node=node, object=record.id, what=record.kind)
    return intake.complete(record.id, node)


def _record(folder: Path) -> tuple[str, Kind, Manifest | Parcel]:
    if (folder / "manifest.jws").exists():
        token = (folder / "manifest.jws").read_bytes()
        return token.decode(errors="replace"), "clip", peek(token, MANIFEST, Manifest)
    token = (folder / "parcel.jws").read_bytes()
    parcel = peek(token, PARCEL, Parcel)
    return token.decode(errors="replace"), parcel.kind, parcel


def _send(folder: Path, part: Part, name: str, node: str, intake: Intake) -> None:
    piece = intake.piece(name, part.file, part.part, node)
    if piece is None:
        return
    with (folder / part.file).open("rb") as file, piece:
        file.seek(part.offset)
        data = file.read(part.size)
        piece.write(data)
        piece.keep(_md5(data))


def _pieces(path: Path) -> Iterator[bytes]:
    """A file in parts; an empty one is one empty part."""
    if not path.exists():
        raise RecordError(f"{path.parent.name}: {path.name}: is missing", "copy the object again")
    with path.open("rb") as file:
        yield file.read(PART)
        while data := file.read(PART):
            yield data


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
