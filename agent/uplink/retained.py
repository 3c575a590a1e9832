"""Copies of this node's retained messages, stored beside the outbox: they are sent again to a broker that lost its store.

The outbox deletes a message when the broker has it; its alarm may be active for weeks after that.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from agent.messages import Message
from agent.outbox.outbox import Waiting
from agent.outbox.topic_rank import rank_of
from privacy.errors import RecordError
from privacy.files import make_folder, on_disk, place, read
from privacy.foreign import decode
from provisioning.layout import Layout

_MOST = 64
_MOST_BYTES = 256 * 1024
_MOST_TOPICS = 256


class Kept(Struct, frozen=True):
    """One retained message as the broker acknowledged it."""

    epoch: str
    seq: int
    tail: str
    put_ms: int
    payload: str


class Retained:
    """Alarms and the heads of journals; state, description and reports are sent at each birth anyway."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.uplink / "retained.json"
        self._kept = {one.tail: one for one in self._read()}
        self._sent: dict[str, tuple[str, int]] = {}

    def taken(self, waiting: Waiting) -> None:
        """The broker has it. `StorageError` if that cannot be stored: then only this process knows it."""
        if not (waiting.tail == "journal" or waiting.tail.startswith("alarm/")):
            return
        before = self._kept.pop(waiting.tail, None)
        if waiting.payload and len(self._kept) < _MOST:
            self._kept[waiting.tail] = Kept(waiting.epoch, waiting.seq, waiting.tail, waiting.put_ms, waiting.payload.decode())
        if self._kept.get(waiting.tail) != before:
            self._write()

    def set_aside(self, waiting: Waiting) -> None:
        """No broker takes this one: it is not sent again. `StorageError` as above."""
        kept = self._kept.get(waiting.tail)
        if kept and (kept.epoch, kept.seq) == (waiting.epoch, waiting.seq):
            del self._kept[waiting.tail]
            self._write()

    def newest(self, waiting: Waiting) -> bool:
        """Whether no later message of its topic was sent before. An older one that is sent again must not stand at the broker.

        Called once for each retained message that is sent.
        """
        epoch, seq = self._sent.pop(waiting.tail, (waiting.epoch, 0))
        later = epoch == waiting.epoch and seq > waiting.seq
        self._sent[waiting.tail] = (epoch, seq) if later else (waiting.epoch, waiting.seq)
        while len(self._sent) > _MOST_TOPICS:
            del self._sent[next(iter(self._sent))]
        return not later

    def all(self) -> list[Waiting]:
        """All stored messages, to be sent again."""
        return [
            Waiting(one.epoch, rank_of(one.tail), one.seq, one.tail, True, one.put_ms, None, one.payload.encode())
            for one in self._kept.values()
        ]

    def _read(self) -> tuple[Kept, ...]:
        """The stored messages; none if the file is damaged: a broker that lost its store then misses earlier alarms."""
        try:
            kept = decode(read(self._path, "retained", most=_MOST_BYTES), tuple[Kept, ...], "retained", most=_MOST_BYTES)
            for one in kept:
                decode(one.payload.encode(), Message, "retained")
        except (OSError, RecordError):
            return ()
        return kept

    def _write(self) -> None:
        with on_disk(f"retained: {self._path}"):
            make_folder(self._path.parent)
            place(self._path, msgspec.json.encode(tuple(self._kept.values())))
