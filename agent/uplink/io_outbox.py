"""The uplink's access to io's outbox: through io's socket, since only io opens the file. Each answer is checked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from agent.outbox.outbox import Mark, Numbered, Summary, Waiting
from agent.outbox.remote import MOST_KEYS, MOST_TAKEN, Ask, End, Find, Found, LetGo, Look, Take, Taken, TellGone
from agent.outbox.schema import DamagedError, check_row
from agent.ranks import Rank
from agent.runtime.control import ask_for
from agent.runtime.requests import AskOutbox
from privacy.errors import LyktaError, StorageError

T = TypeVar("T")
_LOOK_S = 2.0
"""The file's time stamps have a resolution of some milliseconds: io is asked at this interval even if they did not change."""
_RESTS = 5.0
"""Pause after a timeout, as a multiple of its duration."""


class IoOutbox:
    """The reader's methods of `Outbox`. `StorageError` while io does not answer.

    path   io's socket
    file   io's database, which is not opened: a change of its log tells when to ask
    """

    def __init__(self, path: Path, file: Path) -> None:
        self._path, self._log = path, file.with_name(file.name + "-wal")
        self._empty: tuple[float, object] | None = None
        self._pending: tuple[float, object, int] | None = None
        self._rest_until = 0.0

    def take(self, after: Mark, limit: int) -> list[Waiting]:
        if self._empty and self._still(*self._empty):
            return []
        self._empty, now = None, (time.monotonic(), self._changed())
        rows = self._ask(Take(after.epoch, after.taken, min(limit, MOST_TAKEN)), Taken).rows
        if not rows:
            self._empty = now
        return [_checked(row) for row in rows]

    def delete(self, heard: Sequence[Numbered]) -> None:
        self._delete(heard, "heard")

    def expire(self, late: Sequence[Numbered]) -> None:
        self._delete(late, "expired")

    def give_up(self, unreadable: Sequence[Numbered]) -> None:
        self._delete(unreadable, "corrupt")

    def set_aside(self, broke: Sequence[Numbered]) -> None:
        self._delete(broke, "set_aside")

    def tell_gone(self) -> None:
        self._ask(TellGone(), Found)

    def find(self, seq: int) -> Waiting | None:
        return next(map(_checked, self._ask(Find(seq), Taken).rows), None)

    def pending(self) -> int:
        if self._pending is None or not self._still(*self._pending[:2]):
            now = time.monotonic(), self._changed()
            self._pending = *now, self.look().pending
        return self._pending[2]

    def look(self) -> Found:
        """Counts, without reading the whole outbox."""
        return self._ask(Look(False), Found)

    def summary(self) -> Summary:
        found = self._ask(Look(True), Found).summary
        if found is None:
            raise StorageError("outbox: io: no whole answer", "are io and uplink of one version?")
        return found

    def _delete(self, messages: Sequence[Numbered], end: End) -> None:
        for epoch in dict.fromkeys(one.epoch for one in messages):
            keys = [(Rank(one.rank), one.seq) for one in messages if one.epoch == epoch]
            for at in range(0, len(keys), MOST_KEYS):
                self._ask(LetGo(epoch, tuple(keys[at : at + MOST_KEYS]), end), Found)

    def _ask(self, asked: Ask, into: type[T]) -> T:
        """After a slow answer io is not asked again at once: the other outbox has messages too."""
        began_s = time.monotonic()
        if began_s < self._rest_until:
            raise StorageError("outbox: io: does not answer", "systemctl status lykta-io")
        try:
            found: T = ask_for(into, self._path, AskOutbox(asked))
        except LyktaError as problem:
            self._rest_until = time.monotonic() + _RESTS * (time.monotonic() - began_s)
            raise StorageError(f"outbox: io: {problem}", problem.hint) from problem
        return found

    def _still(self, asked_s: float, changed: object) -> bool:
        return time.monotonic() - asked_s < _LOOK_S and changed == self._changed()

    def _changed(self) -> object:
        """A value that changes whenever io has written; None if the file cannot be examined."""
        try:
            found = self._log.lstat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def _checked(row: Waiting) -> Waiting:
    try:
        check_row((row.rank, row.seq, row.tail, row.retain, row.put_ms, row.expiry_s, row.payload))
    except DamagedError as problem:
        raise StorageError(f"outbox: io: {problem}", "io's answer is not believed") from problem
    return row
