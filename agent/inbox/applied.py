"""The result for each record that the centre desired: written by `lykta apply`, read by all services.

<applied>/<kind>.json   the last result; the records in force are below /etc/lykta and are never copied here
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from msgspec import Struct

from privacy.errors import RecordError
from privacy.files import read, read_own
from privacy.foreign import decode
from privacy.records.basis import BASIS, VIEW, Basis, View
from privacy.records.jws import peek
from privacy.records.settings import CONFIG, Settings
from provisioning.layout import Layout

Kind = Literal["basis", "view", "config"]
KINDS: tuple[Kind, ...] = ("basis", "view", "config")
"""In the order of checking: view and configuration are checked against the basis."""


class Applied(Struct, frozen=True):
    """desired: SHA-256 of the signed text; against: id of the basis it was checked against ("" if there was none).

    past  ids and assessments, or versions, that were in force here before and may not be used again
    """

    kind: Kind
    desired: str
    result: Literal["placed", "refused"]
    reason: str
    against: str
    past: tuple[str, ...]
    at: datetime


def place_of(layout: Layout, kind: Kind) -> Path:
    """Path of the record in force."""
    return {"basis": layout.basis, "view": layout.view, "config": layout.overlay}[kind]


def note_of(layout: Layout, kind: Kind) -> Path:
    return layout.applied / f"{kind}.json"


def last_judgement(layout: Layout, kind: Kind) -> Applied | None:
    """The last result; None if there is none, `RecordError` if the file is damaged."""
    try:
        return decode(
            read(note_of(layout, kind), note_of(layout, kind).name), Applied, note_of(layout, kind).name, hint="delete it"
        )
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise RecordError(f"{note_of(layout, kind)}: {problem.strerror}", "delete it") from problem


def names_in(kind: Kind, path: Path) -> tuple[str, ...]:
    """The names of the record in a file, its own first; () if absent or damaged. Unverified: for display, not for decisions."""
    try:
        token = read_own(path)
        if kind == "basis":
            basis = peek(token, BASIS, Basis)
            return (basis.id, basis.assessment)
        return (peek(token, VIEW, View).id,) if kind == "view" else (str(peek(token, CONFIG, Settings).version),)
    except (OSError, RecordError):
        return ()


def id_in_force(layout: Layout, kind: Kind) -> str:
    return next(iter(names_in(kind, place_of(layout, kind))), "")
