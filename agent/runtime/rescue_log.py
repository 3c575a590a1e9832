"""Which rungs of the link's rescue were taken: written by `lykta link` in root's own folder, told to the centre by the uplink.

Root opens no outbox: that is a file of services with fewer rights. A reboot is told by the uplink of the next boot.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from agent.messages import Rescue
from privacy.errors import RecordError
from privacy.files import PUBLIC, make_folder, on_disk, place, read
from privacy.foreign import decode
from provisioning.layout import Layout

T = TypeVar("T")
_MOST = 100
"""The latest that are kept: two days of a dead link, should the uplink be away for as long."""


class Rung(Struct, frozen=True):
    """id: of this one rung, however often it is read."""

    id: str
    event: Rescue


def note(layout: Layout, event: Rescue) -> None:
    """Root's side; `StorageError` if the disk refuses it."""
    path = _path(layout)
    with on_disk(f"link: {path}"):
        make_folder(path.parent, 0o755)
        rungs = (*_read(path, tuple[Rung, ...]), Rung(str(uuid.uuid4()), event))
        place(path, msgspec.json.encode(rungs[-_MOST:]), mode=PUBLIC)


class RescueReporter:
    """The uplink's side, asked each second: looks at the file only when it changed."""

    def __init__(self, layout: Layout) -> None:
        self._path, self._memory = _path(layout), layout.uplink / "rungs-told.json"
        self._told = set(_read(self._memory, tuple[str, ...]))
        self._seen: tuple[int, int] | None = None
        self._rungs: tuple[Rung, ...] = ()

    def news(self) -> list[Rung]:
        """What was not `told` yet, oldest first."""
        mark = _mark(self._path)
        if mark != self._seen:
            self._seen, self._rungs = mark, _read(self._path, tuple[Rung, ...])
        return [one for one in self._rungs if one.id not in self._told]

    def told(self) -> None:
        """All of it is in the outbox. `StorageError` if that cannot be written down: it is known until this process ends."""
        self._told = {one.id for one in self._rungs}
        with on_disk(f"link: {self._memory}"):
            make_folder(self._memory.parent)
            place(self._memory, msgspec.json.encode(sorted(self._told)))


def _path(layout: Layout) -> Path:
    return layout.link / "rungs.json"


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_ino


def _read(path: Path, kind: type[tuple[T, ...]]) -> tuple[T, ...]:
    """() if there is none; a damaged one begins anew: what only remembers keeps nothing from working."""
    try:
        return decode(read(path, path.name), kind, path.name)
    except (OSError, RecordError):
        return ()
