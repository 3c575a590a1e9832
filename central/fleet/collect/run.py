"""The collector as a process: subscriptions, writer, housekeeping, alarms handed on, figures; until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from central.fleet.collect.housekeeping import Housekeeping
from central.fleet.collect.metrics import Metrics
from central.fleet.collect.notifying import Notifier, Receiver
from central.fleet.collect.reporting import Reporter
from central.fleet.collect.store.database import dispose, open_database, told_as_error
from central.fleet.collect.store.migrating import migrate
from central.fleet.collect.store.retention import Limits
from central.fleet.collect.subscriptions import Subscriptions
from central.fleet.collect.writer import Writer
from central.keys.bundle import Address
from drivers.threads import Thread, start

_JOIN_S = 10.0


@dataclass(frozen=True)
class Settings:
    """database: address of SQLAlchemy; share: group of replicas, "" for one alone; replica: its name, the same at each start."""

    keys: Path
    broker: Address
    database: str
    share: str
    replica: str
    metrics: Address | None
    receiver: Receiver | None
    limits: Limits
    clip_hours: int | None


def run(settings: Settings) -> None:
    """Collect until SIGTERM or SIGINT. Tables are made first; the first exception of a thread ends the process."""
    stop, urgent, report, metrics = Event(), Event(), Reporter(), Metrics()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = open_database(settings.database)
    with told_as_error(engine):
        migrate(engine)
    if settings.metrics:
        metrics.serve(settings.metrics)
    incoming = Subscriptions(settings.keys, settings.broker, settings.share, settings.replica, _teller(metrics, report))
    writer = Writer(engine, settings.replica, incoming, metrics, report, urgent.set)
    keeping = Housekeeping(engine, settings.replica, incoming, metrics, report, settings.limits, settings.clip_hours, urgent)
    threads = _Threads(stop)
    threads.start("housekeeping", lambda: keeping.run(stop))
    if settings.receiver:
        notifier = Notifier(engine, settings.receiver, metrics, report)
        threads.start("alarms", lambda: notifier.run(stop, urgent))
    threads.start("link", incoming.run)
    shown = engine.url.render_as_string(hide_password=True)
    report.say(
        f"{settings.broker.host}:{settings.broker.port} into {shown}, as {settings.replica} of {settings.share or 'no group'}"
    )
    try:
        writer.run(stop)
    finally:
        stop.set()
        urgent.set()
        incoming.close()
        threads.join()
        dispose(engine)
    threads.check()


def _teller(metrics: Metrics, report: Reporter) -> Callable[[bool, str, bool], None]:
    def changed(connected: bool, cause: str, kept: bool) -> None:
        metrics.connected.set(connected)
        if not connected:
            report.trouble("broker", cause)
            return
        report.well("broker")
        if not kept:
            metrics.sessions_lost.inc()
            report.say("broker: connected, with a new session: what was sent before is named as missing unless it is retained")

    return changed


class _Threads:
    """Threads whose first exception stops the process."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._threads: list[Thread] = []
        self._failures: list[BaseException] = []

    def start(self, name: str, work: Callable[[], None]) -> None:
        self._threads.append(start(name, work, self._failed))

    def _failed(self, problem: BaseException) -> None:
        self._failures.append(problem)
        self._stop.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(_JOIN_S)

    def check(self) -> None:
        if self._failures:
            raise self._failures[0]
