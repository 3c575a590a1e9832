"""What waits in a node: in memory for many nodes, in the node's own outbox (a SQLite file) for those that were away for days."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from agent.envelope import ClockState, Envelope
from agent.messages import Body, Message, Tombstone, encode
from agent.outbox.outbox import Mark, Outbox, Waiting
from agent.outbox.topic_rank import rank_of
from agent.ranks import Rank


class NodeClock:
    """Real time, moved by `step`; what the node thinks of it is `trust`. A boot of its own."""

    def __init__(self, step: timedelta = timedelta(0), trust: ClockState = "synced") -> None:
        self.step, self.trust = step, trust
        self.reboot()

    def reboot(self) -> None:
        self.boot_id = str(uuid.uuid4())

    def now(self) -> datetime:
        return datetime.now(UTC) + self.step

    def mono_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def state(self) -> ClockState:
        return self.trust


class Store(Protocol):
    """An outbox as the publisher sees it."""

    epoch: str

    def put(self, *bodies: Body) -> None: ...
    def will(self, body: Body) -> bytes: ...
    def take(self, most: int) -> list[Waiting]: ...
    def delete(self, heard: Sequence[Waiting]) -> None: ...
    def last(self) -> int: ...
    def waiting(self) -> set[int]: ...


class MemoryOutbox:
    """The same numbers, ranks and tombstones as `agent.outbox.outbox`, without a file: 10,000 of them fit into one process."""

    def __init__(self, clock: NodeClock) -> None:
        self.clock, self.epoch = clock, uuid.uuid4().hex
        self._last = 0
        self._waiting: tuple[deque[Waiting], ...] = tuple(deque() for _ in Rank)
        self._cleared: list[int] = []

    def put(self, *bodies: Body) -> None:
        for body in bodies:
            payload = encode(Message(self._envelope(), body))
            self._add(body.tail, payload, body.route.rank, retain=body.route.retain)

    def will(self, body: Body) -> bytes:
        """The number of a will is named at once."""
        payload = encode(Message(self._envelope(), body))
        self.put(Tombstone(self.epoch, "will", ((self._last, self._last),)))
        return payload

    def clear(self, tail: str) -> None:
        """An empty message, without a number inside; a tombstone names it."""
        self._last += 1
        self._cleared.append(self._last)
        self._add(tail, b"", rank_of(tail), retain=True)

    def tell_gone(self) -> None:
        if self._cleared:
            numbers, self._cleared = self._cleared, []
            self.put(Tombstone(self.epoch, "cleared", tuple((one, one) for one in numbers)))

    def take(self, most: int) -> list[Waiting]:
        found: list[Waiting] = []
        for of_rank in self._waiting:
            while of_rank and len(found) < most:
                found.append(of_rank.popleft())
        return found

    def delete(self, heard: Sequence[Waiting]) -> None:
        """Nothing: what was taken is no longer here."""

    def last(self) -> int:
        return self._last

    def waiting(self) -> set[int]:
        return {one.seq for of_rank in self._waiting for one in of_rank}

    def _add(self, tail: str, payload: bytes, rank: Rank, *, retain: bool) -> None:
        put_ms = round(self.clock.now().timestamp() * 1000)
        self._waiting[rank].append(Waiting(self.epoch, rank, self._last, tail, retain, put_ms, None, payload))

    def _envelope(self) -> Envelope:
        self._last += 1
        clock = self.clock
        return Envelope(
            1, str(uuid.uuid4()), self.epoch, self._last, clock.now(), clock.mono_ms(), clock.boot_id, clock.trust, hist=False
        )


class KeptOutbox:
    """The node's own outbox with the uplink's way of reading it. Its clock says the simulated time while it is filled."""

    def __init__(self, path: Path, site: str, node: str, clock: NodeClock) -> None:
        self.outbox = Outbox(path, site, node, clock)  # type: ignore[arg-type]
        self.epoch, self.clock, self._path, self._mark = self.outbox.epoch, clock, path, Mark()

    def put(self, *bodies: Body) -> None:
        self.outbox.put(*bodies)

    def will(self, body: Body) -> bytes:
        payload = self.outbox.will(body)
        self.outbox.tell_gone()
        return payload

    def take(self, most: int) -> list[Waiting]:
        taken = self.outbox.take(self._mark, most)
        for one in taken:
            self._mark = self._mark.past(one)
        return taken

    def delete(self, heard: Sequence[Waiting]) -> None:
        self.outbox.delete(heard)

    def waiting(self) -> set[int]:
        return {one.seq for one in self.outbox.take(Mark(), 1_000_000)}

    def last(self) -> int:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT value FROM meta WHERE name = 'seq'").fetchone()[0])
