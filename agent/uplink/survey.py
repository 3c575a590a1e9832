"""The uplink's answer to a technician's request about the outboxes. Read-only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from agent.messages import LONGEST
from agent.outbox.outbox import Class, Mark, Summary, Waiting
from agent.runtime.requests import ClassWaiting, NextMessage, OutboxSurvey, ShowMessage, WaitingMessage
from privacy.errors import StorageError, UsageError
from privacy.foreign import LATEST, decode

_NEXT = 20
_LATEST_MS = LATEST.timestamp() * 1000


class Source(Protocol):
    """Port to an outbox for reading; `StorageError` while it cannot be reached."""

    def summary(self) -> Summary: ...
    def take(self, after: Mark, limit: int) -> list[Waiting]: ...
    def find(self, seq: int) -> Waiting | None: ...


def survey(outboxes: Mapping[str, Source]) -> OutboxSurvey:
    """Waiting messages by class, the next to be sent, and dropped ones, of each outbox and together.

    An outbox that cannot be reached is named with the reason.
    """
    found: dict[str, Summary] = {}
    following: list[tuple[str, Waiting]] = []
    unreachable: dict[str, str] = {}
    for name, outbox in outboxes.items():
        try:
            found[name] = outbox.summary()
            following += [(name, one) for one in outbox.take(Mark(), _NEXT)]
        except StorageError as problem:
            unreachable[name] = str(problem)
    following = sorted(following, key=lambda one: one[1].rank)[:_NEXT]
    return _together(found, tuple(_line(*one) for one in following), unreachable)


def _together(found: Mapping[str, Summary], following: tuple[NextMessage, ...], unreachable: dict[str, str]) -> OutboxSurvey:
    """The sums over all outboxes; `epoch` is the first one's."""
    all_ = list(found.values())
    causes = dict.fromkeys(cause for one in all_ for cause in one.dropped)
    names = dict.fromkeys(row.name for one in all_ for row in one.classes)
    each = tuple(
        {"outbox": name, **msgspec.to_builtins(one), "classes": [_class(row) for row in one.classes]} for name, one in found.items()
    )
    return OutboxSurvey(
        epoch=all_[0].epoch if all_ else None,
        pending=sum(one.pending for one in all_),
        file_bytes=sum(one.file_bytes for one in all_),
        dropped={cause: sum(one.dropped.get(cause, 0) for one in all_) for cause in causes},
        classes=tuple(_class(_sum(name, [row for one in all_ for row in one.classes if row.name == name])) for name in names),
        next=following,
        outboxes=each,
        unreachable=unreachable,
    )


def _sum(name: str, rows: list[Class]) -> Class:
    oldest = min((row.oldest_ms for row in rows if row.oldest_ms is not None), default=None)
    return Class(name, sum(row.rows for row in rows), sum(row.bytes for row in rows), oldest)


def _class(row: Class) -> ClassWaiting:
    return ClassWaiting(row.name, row.rows, row.bytes, _moment(row.oldest_ms))


def _line(name: str, one: Waiting) -> NextMessage:
    return NextMessage(name, one.seq, one.rank.name.lower(), one.tail, _moment(one.put_ms), len(one.payload))


def message(outboxes: Mapping[str, Source], asked: ShowMessage) -> WaitingMessage:
    """One message by its number, which is unique only within an outbox."""
    seq, wanted = asked.seq, asked.outbox
    if wanted and wanted not in outboxes:
        raise UsageError(f"outbox: none of that name (got {wanted!r})", f"known: {', '.join(outboxes)}")
    names = [wanted] if wanted else list(outboxes)
    found = {name: one for name in names if (one := _in(outboxes[name], seq)) is not None}
    if not found:
        raise UsageError(f"outbox: no such message waits (got {seq!r})", "`lykta outbox list` shows what is sent next")
    if len(found) > 1:
        raise UsageError(f"outbox: {seq} waits in {' and '.join(found)}", "say --outbox node or --outbox io")
    [(name, waiting)] = found.items()
    text = decode(waiting.payload, dict[str, Any], "message", most=LONGEST) if waiting.payload else None
    return WaitingMessage(name, waiting.seq, waiting.tail, waiting.retain, waiting.expiry_s, text)


def _in(outbox: Source, seq: int) -> Waiting | None:
    """The message; None also if the outbox cannot be reached."""
    try:
        return outbox.find(seq)
    except StorageError:
        return None


def _moment(ms: int | None) -> str | None:
    """The time as text; None also for an impossible time: any program with write access to the database may have set it."""
    return None if ms is None or ms >= _LATEST_MS else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
