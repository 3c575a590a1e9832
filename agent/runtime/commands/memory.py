"""What a service remembers of commands within a boot, in a file below /run: a restarted service executes none twice, and answers
those that it had begun."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.files import PRIVATE, place, read
from privacy.foreign import decode
from privacy.records.command import Command, CommandId, CommandName
from privacy.records.jws import canonical

MOST_OPEN = 32
"""Commands without their final answer; one more is refused as busy."""


class OpenCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """A command that was begun and has no final answer yet."""

    name: CommandName
    number: int


class _Kept(Struct, frozen=True, forbid_unknown_fields=True):
    boot_id: str
    number: int
    open: Annotated[dict[CommandId, OpenCommand], Meta(max_length=MOST_OPEN + 1)] = {}


class CommandMemory:
    """May be used from any thread.

    before  commands that the last process of this boot did not finish
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path, self._lock = path, Lock()
        found = self._read(boot_id)
        self.before = found.open
        self._kept = msgspec.structs.replace(found, open={})

    @property
    def last(self) -> int:
        """The number of the last command of this boot; 0 before the first."""
        return self._kept.number

    @property
    def full(self) -> bool:
        return len(self._kept.open) > MOST_OPEN

    def take(self, command: Command) -> bool:
        """Store its number, and that it has no answer yet: whether that is on the disk; this process remembers it in any case."""
        with self._lock:
            opened = {**self._kept.open, command.id: OpenCommand(command.name, command.number)}
            return self._replace(_Kept(self._kept.boot_id, command.number, opened))

    def finish(self, command: str) -> bool:
        """Whether that command had no final answer until now."""
        with self._lock:
            if command not in self._kept.open:
                return False
            self._replace(
                msgspec.structs.replace(self._kept, open={id_: one for id_, one in self._kept.open.items() if id_ != command})
            )
            return True

    def is_open(self, command: str) -> bool:
        return command in self._kept.open

    def _replace(self, kept: _Kept) -> bool:
        self._kept = kept
        try:
            place(self._path, canonical(kept), mode=PRIVATE)
        except OSError:  # /run is full: the caller decides whether the command is still valid
            return False
        return True

    def _read(self, boot_id: str) -> _Kept:
        try:
            kept = decode(read(self._path, "last command"), _Kept, "last command")
        except (OSError, RecordError):  # none in this boot yet, or damaged: replay is then limited by each command's own end time
            return _Kept(boot_id, 0)
        return kept if kept.boot_id == boot_id else _Kept(boot_id, 0)
