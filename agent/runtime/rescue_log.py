"""The link's rescue steps (rungs) that were taken: written by `lykta link` in root's own folder, sent to the centre by the uplink.

Root opens no outbox: that file belongs to services with fewer rights. A reboot is reported by the uplink after the boot.
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
"""Number of steps kept: two days of a dead link, if the uplink does not run for that time."""


class Rung(Struct, frozen=True):
    """One step. id: unique, the same at each reading."""

    id: str
    event: Rescue


def note(layout: Layout, event: Rescue) -> None:
    """Store a step, by root; `StorageError` if the disk refuses."""
    path = _path(layout)
    with on_disk(f"link: {path}"):
        make_folder(path.parent, 0o755)
        rungs = (*_read(path, tuple[Rung, ...]), Rung(str(uuid.uuid4()), event))
        place(path, msgspec.json.encode(rungs[-_MOST:]), mode=PUBLIC)


class RescueReporter:
    """Reads the steps, for the uplink, each second: opens the file only when it changed."""

    def __init__(self, layout: Layout) -> None:
        self._path, self._memory = _path(layout), layout.uplink / "rungs-told.json"
        self._sent = set(_read(self._memory, tuple[str, ...]))
        self._seen: tuple[int, int] | None = None
        self._rungs: tuple[Rung, ...] = ()

    def due(self) -> list[Rung]:
        """Steps not yet marked by `mark_sent`, oldest first."""
        mark = _mark(self._path)
        if mark != self._seen:
            self._seen, self._rungs = mark, _read(self._path, tuple[Rung, ...])
        return [one for one in self._rungs if one.id not in self._sent]

    def mark_sent(self) -> None:
        """Mark all as put into the outbox. `StorageError` if that cannot be stored: then only this process knows it."""
        self._sent = {one.id for one in self._rungs}
        with on_disk(f"link: {self._memory}"):
            make_folder(self._memory.parent)
            place(self._memory, msgspec.json.encode(sorted(self._sent)))


def _path(layout: Layout) -> Path:
    return layout.link / "rungs.json"


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_ino


def _read(path: Path, kind: type[tuple[T, ...]]) -> tuple[T, ...]:
    """The file's steps; () if it is absent or damaged: losing the log must not stop the service."""
    try:
        return decode(read(path, path.name), kind, path.name)
    except (OSError, RecordError):
        return ()
