"""What is done beside the messages, in a thread of its own: accounts, alarms of the collector, deletion, figures for Prometheus.

All of it can be done again, by any replica; a database that is away is tried again at the next turn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Event

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from central.fleet.collect.metrics import Metrics
from central.fleet.collect.reporting import Reporter
from central.fleet.collect.store import retention, settling, standing, summary, watching
from central.fleet.collect.store.database import may_pass, reason_of
from central.fleet.collect.subscriptions import SESSION_S, Subscriptions

_TURN_S, _WATCH_S, _MINUTE_S, _HOUR_S = 2.0, 10.0, 60.0, 3600.0
_QUIET_S = 20.0
"""The broker sends what is retained right after the subscription; when none came for so long, all have come."""


@dataclass
class _Due:
    """When something is done next, in monotonic seconds."""

    every_s: float
    next_s: float = 0.0

    def now(self) -> bool:
        if time.monotonic() < self.next_s:
            return False
        self.next_s = time.monotonic() + self.every_s
        return True


class Housekeeping:
    """clip_hours: that nodes keep a clip, None if that is not known; urgent: set when an alarm of the collector changed."""

    def __init__(
        self,
        engine: Engine,
        replica: str,
        incoming: Subscriptions,
        metrics: Metrics,
        report: Reporter,
        limits: retention.Limits,
        clip_hours: int | None,
        urgent: Event,
    ) -> None:
        self._engine, self._replica, self._incoming = engine, replica, incoming
        self._metrics, self._report, self._limits, self._urgent = metrics, report, limits, urgent
        self._clip_hours, self._watch = clip_hours, _Due(_WATCH_S)
        self._minute, self._hour, self._reconciled = _Due(_MINUTE_S), _Due(_HOUR_S), 0.0

    def run(self, stop: Event) -> None:
        while not stop.is_set():
            try:
                self.turn(stop)
            except SQLAlchemyError as problem:
                if not may_pass(problem):
                    raise
                self._report.trouble("database", reason_of(problem))
            stop.wait(_TURN_S)

    def turn(self, stop: Event) -> None:
        """One round; each step is a transaction."""
        now = time.time_ns() // 1_000_000
        with self._engine.begin() as connection:
            summary.seen(connection, self._replica, now)
        if self._minute.now():
            with self._engine.begin() as connection:
                settling.reopen(connection)
        if self._watch.now():
            self._settle(now, stop)
            with self._engine.begin() as connection:
                if watching.watch(connection, now, self._clip_hours):
                    self._urgent.set()
        self._reconcile(now)
        if self._hour.now():
            self._delete(now, stop)
        with self._engine.connect() as connection:
            self._metrics.show(summary.fleet(connection))

    def _settle(self, now: int, stop: Event) -> None:
        made = settling.AT_ONCE
        while made == settling.AT_ONCE and not stop.is_set():
            with self._engine.begin() as connection:
                made = settling.settle(connection, now, SESSION_S * 1000)

    def _reconcile(self, now: int) -> None:
        """Once for each session that is new at the broker, when all that is retained has come and is stored."""
        began, mono_s = self._incoming.fresh_at, time.monotonic()
        quiet = mono_s - max(began, self._incoming.retained_at) > _QUIET_S
        if began == self._reconciled or not (quiet and self._incoming.connected and not self._incoming.waiting):
            return
        if self._incoming.trouble:
            return
        self._reconciled = began
        with self._engine.begin() as connection:
            ended = standing.end_unretained(connection, self._replica, now - round((mono_s - began) * 1000), now)
        if ended:
            self._report.say(f"{ended} alarms ended: they stand no more at the broker")
            self._urgent.set()

    def _delete(self, now: int, stop: Event) -> None:
        deleted: dict[str, int] = {}
        for step in retention.steps(now, self._limits):
            more = True
            while more and not stop.is_set():
                with self._engine.begin() as connection:
                    number = step.run(connection)
                deleted[step.table] = deleted.get(step.table, 0) + number
                more = number >= retention.AT_ONCE
        for table, number in deleted.items():
            self._metrics.deleted.labels(table).inc(number)
