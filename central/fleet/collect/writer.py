"""Takes messages from the subscriptions, stores them, and only then confirms them to the broker.

A database that is away, locked or full is tried again with growing pauses; the batch stays in hand and the broker waits. A message
that the database does not take for another reason is refused alone, so that it cannot stop the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from agent.messages import Alarm
from central.fleet.collect.intake import Cleared, Refusal, Taken, take
from central.fleet.collect.metrics import Metrics
from central.fleet.collect.reporting import Reporter
from central.fleet.collect.store.database import may_pass, reason_of
from central.fleet.collect.store.writing import Item, Written, write
from central.fleet.collect.subscriptions import Fresh, Subscriptions
from drivers.mqtt.client import Delivery

BATCH = 500
_SHORTEST_S, _LONGEST_S = 0.2, 15.0
_TURN_S = 0.5


class Writer:
    """urgent: called after a commit with an alarm or its end."""

    def __init__(
        self, engine: Engine, replica: str, incoming: Subscriptions, metrics: Metrics, report: Reporter, urgent: Callable[[], None]
    ) -> None:
        self._engine, self._replica, self._incoming, self._metrics = engine, replica, incoming, metrics
        self._report, self._urgent = report, urgent

    def run(self, stop: Event) -> None:
        """Until `stop`; then what is in hand is left to the broker, unless the database takes it at once."""
        while not stop.is_set():
            deliveries = self._incoming.take(BATCH, _TURN_S)
            self._metrics.waiting.set(self._incoming.waiting + len(deliveries))
            if deliveries and self._store([self._judge(one) for one in deliveries], stop):
                for one in deliveries:
                    if isinstance(one, Delivery):
                        self._incoming.confirm(one)
                        self._metrics.confirmed.inc()

    def _judge(self, delivery: Delivery | Fresh) -> Item | None:
        if isinstance(delivery, Fresh):
            return delivery
        now = time.time_ns() // 1_000_000
        found = take(delivery.topic, delivery.payload, delivery.qos, now, retained=delivery.retained)
        if isinstance(found, Refusal):
            self._refuse(found.cause, found.text)
            return None
        return found

    def _refuse(self, cause: str, text: str) -> None:
        self._metrics.refused.labels(cause).inc()
        self._report.foreign(f"refused ({cause}): {text}")

    def _store(self, judged: Sequence[Item | None], stop: Event) -> bool:
        """Store a batch, however long that takes; False if `stop` came first."""
        batch = [one for one in judged if one is not None]
        pause_s = _SHORTEST_S
        while batch:
            try:
                self._write(batch)
            except SQLAlchemyError as problem:
                if not may_pass(problem):
                    self._one_by_one(batch, problem, stop)
                    return not stop.is_set()
                self._metrics.database.set(0)
                self._metrics.database_failures.inc()
                self._report.trouble("database", f"{reason_of(problem)}; {len(batch)} messages wait, and the broker with them")
                if stop.wait(pause_s):
                    return False
                pause_s = min(2 * pause_s, _LONGEST_S)
            else:
                break
        return True

    def _one_by_one(self, batch: Sequence[Item], problem: SQLAlchemyError, stop: Event) -> None:
        """Store each message of a batch that was refused; the one that is refused again is dropped and counted."""
        if len(batch) == 1:
            self._refuse("database", reason_of(problem))
            return
        for one in batch:
            if not self._store([one], stop):
                return

    def _write(self, batch: Sequence[Item]) -> None:
        began = time.monotonic()
        with self._engine.begin() as connection:
            written = write(connection, self._replica, batch)
        self._metrics.commit.observe(time.monotonic() - began)
        self._metrics.database.set(1)
        self._report.well("database")
        self._count(written)
        if any(isinstance(one, Cleared) or (isinstance(one, Taken) and isinstance(one.message.body, Alarm)) for one in batch):
            self._urgent()

    def _count(self, written: Written) -> None:
        now_s = time.time()
        for one in written.fresh:
            envelope = one.message.envelope
            self._metrics.messages.labels(str(one.message.body.__struct_config__.tag)).inc()
            if envelope.clock == "synced" and not envelope.hist and not one.retained:
                self._metrics.delay.observe(max(0.0, now_s - envelope.t.timestamp()))
        self._metrics.duplicates.inc(written.duplicates)
        self._metrics.conflicts.inc(written.conflicts)
        if written.conflicts:
            self._report.foreign(
                f"{written.conflicts} messages with a number that another content had: two nodes with one identity?"
            )
