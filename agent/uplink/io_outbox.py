"""io's outbox as the uplink reaches it: through io's socket, so that io alone opens the file and nobody else can lock it.

Both ends stand here: `Answerer` in io, `IoOutbox` in the uplink. Neither believes the other beyond the form: io deletes what it is
told the broker has (the uplink could as well not send it), and nothing that is asked makes it wait or write without bound.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from agent.outbox.outbox import Mark, Numbered, Outbox, Summary, Waiting
from agent.outbox.ranks import Rank
from agent.outbox.schema import GREATEST, DamagedError, check_row
from agent.runtime.control import Request, ask
from agent.uplink.lanes import End
from privacy.errors import LyktaError, RecordError, StorageError

T = TypeVar("T")
Epoch = Annotated[str, Meta(max_length=64)]
Seq = Annotated[int, Meta(ge=0, le=GREATEST)]
MOST_KEYS = 200
"""Messages that one request lets go of."""
_MOST_TAKEN = 50
_MOST_BYTES = 32_000
"""Of payloads in one answer, or a single one that is larger."""
_TELLS_S = 10.0
"""Tombstones are asked for each minute: more often io does not write any."""
_LOOK_S = 2.0
"""The file's times have a grain of some milliseconds: the outbox is asked so often even if they did not change."""

_RESTS = 5.0
"""Times as long as a wait in vain was."""


class Take(Struct, frozen=True, forbid_unknown_fields=True, tag="take"):
    """Messages after a mark, the most urgent first."""

    epoch: Epoch
    taken: Annotated[tuple[Seq, ...], Meta(min_length=len(Rank), max_length=len(Rank))]
    limit: Annotated[int, Meta(ge=1, le=_MOST_TAKEN)]


class LetGo(Struct, frozen=True, forbid_unknown_fields=True, tag="let_go"):
    """Rank and number of messages that the broker has, or that nobody will get."""

    epoch: Epoch
    keys: Annotated[tuple[tuple[Rank, Seq], ...], Meta(max_length=MOST_KEYS)]
    end: End


class TellGone(Struct, frozen=True, forbid_unknown_fields=True, tag="tell_gone"):
    """Put tombstones for what went."""


class Look(Struct, frozen=True, forbid_unknown_fields=True, tag="look"):
    """How much waits; all of it by class."""

    whole: bool


class Find(Struct, frozen=True, forbid_unknown_fields=True, tag="find"):
    """One message by its number."""

    seq: Seq


Ask = Take | LetGo | TellGone | Look | Find


class Taken(Struct, frozen=True):
    rows: tuple[Waiting, ...]


class Found(Struct, frozen=True):
    """What waits and was dropped, in messages; file_bytes: on the disk. All of it by class only where that was asked for."""

    pending: Annotated[int, Meta(ge=0, le=GREATEST)]
    dropped: Annotated[int, Meta(ge=0, le=GREATEST)]
    file_bytes: Annotated[int, Meta(ge=0, le=GREATEST)]
    summary: Summary | None = None


class Key(Struct, frozen=True):
    """A message's name."""

    epoch: str
    rank: int
    seq: int


class Answerer:
    """io's end."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox, self._told_s = outbox, float("-inf")

    def answer(self, request: Request) -> Request:
        """`RecordError` for what is no request; `StorageError` if the disk refuses."""
        reply: Request = msgspec.to_builtins(self._reply(_as(request.get("ask"), Ask, "outbox: request")))
        return reply

    def _reply(self, asked: Ask) -> Taken | Found:
        if isinstance(asked, Take):
            return Taken(_within(self._outbox.take(Mark(asked.epoch, asked.taken), asked.limit)))
        if isinstance(asked, Find):
            found = self._outbox.find(asked.seq)
            return Taken((found,) if found else ())
        if isinstance(asked, LetGo):
            self._let_go([Key(asked.epoch, rank, seq) for rank, seq in asked.keys], asked.end)
        elif isinstance(asked, TellGone):
            self._tell_gone()
        whole = isinstance(asked, Look) and asked.whole
        outbox = self._outbox
        return Found(outbox.pending(), outbox.dropped(), outbox.size(), outbox.summary() if whole else None)

    def _let_go(self, keys: Sequence[Key], end: End) -> None:
        outbox = self._outbox
        ends = {"heard": outbox.delete, "expired": outbox.expire, "corrupt": outbox.give_up, "set_aside": outbox.set_aside}
        ends[end](keys)

    def _tell_gone(self) -> None:
        if time.monotonic() - self._told_s > _TELLS_S:
            self._told_s = time.monotonic()
            self._outbox.tell_gone()


def _within(rows: Sequence[Waiting]) -> tuple[Waiting, ...]:
    """As many as one answer holds."""
    size = 0
    taken: list[Waiting] = []
    for row in rows:
        size += len(row.payload)
        if taken and size > _MOST_BYTES:
            break
        taken.append(row)
    return tuple(taken)


class IoOutbox:
    """The uplink's end: what `Outbox` offers to who reads it. `StorageError` while io does not answer.

    path   io's socket
    file   io's database, which is not opened: whether its log changed tells when to ask
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
        rows = self._ask(Take(after.epoch, after.taken, min(limit, _MOST_TAKEN)), Taken).rows
        if not rows:
            self._empty = now
        return [_checked(row) for row in rows]

    def delete(self, heard: Sequence[Numbered]) -> None:
        self._let_go(heard, "heard")

    def expire(self, late: Sequence[Numbered]) -> None:
        self._let_go(late, "expired")

    def give_up(self, unreadable: Sequence[Numbered]) -> None:
        self._let_go(unreadable, "corrupt")

    def set_aside(self, broke: Sequence[Numbered]) -> None:
        self._let_go(broke, "set_aside")

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
        """How much there is, without reading all of it."""
        return self._ask(Look(False), Found)

    def summary(self) -> Summary:
        found = self._ask(Look(True), Found).summary
        if found is None:
            raise StorageError("outbox: io: no whole answer", "are io and uplink of one version?")
        return found

    def _let_go(self, messages: Sequence[Numbered], end: End) -> None:
        for epoch in dict.fromkeys(one.epoch for one in messages):
            keys = [(Rank(one.rank), one.seq) for one in messages if one.epoch == epoch]
            for at in range(0, len(keys), MOST_KEYS):
                self._ask(LetGo(epoch, tuple(keys[at : at + MOST_KEYS]), end), Found)

    def _ask(self, asked: Ask, into: type[T]) -> T:
        """One that takes its time is not asked again at once: the other outbox has messages, too."""
        began_s = time.monotonic()
        if began_s < self._rest_until:
            raise StorageError("outbox: io: does not answer", "systemctl status lykta-io")
        try:
            answer = ask(self._path, {"verb": "outbox", "ask": msgspec.to_builtins(asked)})
            found: T = _as(answer, into, "outbox: io's answer")
        except LyktaError as problem:
            self._rest_until = time.monotonic() + _RESTS * (time.monotonic() - began_s)
            raise StorageError(f"outbox: io: {problem}", problem.hint) from problem
        return found

    def _still(self, asked_s: float, changed: object) -> bool:
        return time.monotonic() - asked_s < _LOOK_S and changed == self._changed()

    def _changed(self) -> object:
        """Another value whenever io has written; None if that cannot be seen from here."""
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


def _as(found: Any, into: Any, what: str) -> Any:
    try:
        return msgspec.convert(found, into)
    except (msgspec.ValidationError, ValueError, RecursionError) as problem:
        raise RecordError(f"{what}: {problem}", "are io and uplink of one version?") from problem
