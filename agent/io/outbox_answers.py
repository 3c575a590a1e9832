"""io's answers to the uplink about its outbox: only io opens the file, so that no other process can lock it.

io trusts the uplink only so far: it deletes messages that the uplink says are delivered (the uplink could as well not send them),
and no request makes it wait or write without bound.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from agent.outbox.outbox import Mark, Outbox, Waiting
from agent.outbox.remote import End, Find, Found, Key, LetGo, Look, Take, Taken, TellGone
from agent.runtime.requests import AskOutbox

_MOST_BYTES = 32_000
"""Bytes of payloads in one answer, or a single larger payload."""
_TELLS_S = 10.0
"""Tombstones are requested each minute; io does not write them more often."""


class OutboxAnswers:
    """Answers the requests of `agent.outbox.remote`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox, self._told_s = outbox, float("-inf")

    def answer(self, request: AskOutbox) -> Taken | Found:
        """`StorageError` if the disk refuses."""
        asked = request.ask
        if isinstance(asked, Take):
            return Taken(_within(self._outbox.take(Mark(asked.epoch, asked.taken), asked.limit)))
        if isinstance(asked, Find):
            found = self._outbox.find(asked.seq)
            return Taken((found,) if found else ())
        if isinstance(asked, LetGo):
            self._delete([Key(asked.epoch, rank, seq) for rank, seq in asked.keys], asked.end)
        elif isinstance(asked, TellGone):
            self._tell_gone()
        whole = isinstance(asked, Look) and asked.whole
        outbox = self._outbox
        return Found(outbox.pending(), outbox.dropped(), outbox.size(), outbox.summary() if whole else None)

    def _delete(self, keys: Sequence[Key], end: End) -> None:
        outbox = self._outbox
        ends = {"heard": outbox.delete, "expired": outbox.expire, "corrupt": outbox.give_up, "set_aside": outbox.set_aside}
        ends[end](keys)

    def _tell_gone(self) -> None:
        if time.monotonic() - self._told_s > _TELLS_S:
            self._told_s = time.monotonic()
            self._outbox.tell_gone()


def _within(rows: Sequence[Waiting]) -> tuple[Waiting, ...]:
    """As many messages as one answer holds."""
    size = 0
    taken: list[Waiting] = []
    for row in rows:
        size += len(row.payload)
        if taken and size > _MOST_BYTES:
            break
        taken.append(row)
    return tuple(taken)
