"""A running `lykta-central collect`, nodes that talk to it through a real broker, and what it stored."""

from __future__ import annotations

import itertools
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from agent.envelope import Envelope
from agent.messages import Body, Health, Message, Presence, Tombstone, encode, topic
from central.fleet.collect.store.database import open_database
from central.fleet.collect.store.migrating import migrate
from drivers.mqtt.client import Credentials
from drivers.mqtt.session import Session, session
from tests.support.broker import PATIENCE, Broker, free_port, until, whole_lines
from tests.support.clips import TOOL


class Talker:
    """A node of which only the messages are of interest: numbers rise as in an outbox."""

    def __init__(self, name: str = "city/stop-1", epoch: str = "", first: int = 1) -> None:
        self.site, self.node = name.split("/")
        self.name, self.epoch = name, epoch or uuid.uuid4().hex
        self._numbers = itertools.count(first)
        self.sent: list[int] = []

    def next(self) -> int:
        return next(self._numbers)

    def say(self, body: Body, *, seq: int | None = None, t: datetime | None = None, late: bool = False) -> tuple[str, bytes]:
        """Topic and payload of a message."""
        number = self.next() if seq is None else seq
        self.sent.append(number)
        at = t or datetime.now(UTC)
        envelope = Envelope(1, uuid.uuid4().hex, self.epoch, number, at, number * 10, "boot", "synced", late)
        return topic(self.site, self.node, body.tail), encode(Message(envelope, body))

    def presence(self, people: Any = "few") -> tuple[str, bytes]:
        return self.say(Presence(people, datetime.now(UTC)))

    def health(self, group: Any = "system", **numbers: float) -> tuple[str, bytes]:
        return self.say(Health(group, dict(numbers), {}))

    def tombstone(self, cause: Any, *ranges: tuple[int, int], epoch: str = "") -> tuple[str, bytes]:
        return self.say(Tombstone(epoch or self.epoch, cause, ranges))

    def clear(self, name: str) -> tuple[str, bytes]:
        """The empty message that ends an alarm; it has no number."""
        return topic(self.site, self.node, "alarm", name), b""


@contextmanager
def connected(broker: Broker) -> Iterator[Session]:
    """A client that may publish for every node; a message is at the broker when `publish` returns."""
    keys = broker.centre.folder
    ops = Credentials(keys / "ca.pem", keys / "ops.pem", keys / "ops.key")
    with session(f"talkers-{uuid.uuid4()}", ops, ("127.0.0.1", broker.operators)) as opened:
        yield opened


RETAINED = ("state", "describe", "journal", "alarm/", "cert/", "config/", "basis/", "view/")


def publish(opened: Session, *said: tuple[str, bytes]) -> None:
    """As a node does: its class says whether a message is retained."""
    for where, payload in said:
        tail = where.split("/", 4)[4]
        opened.publish(where, payload, retain=tail.startswith(RETAINED))


class Collector:
    """`lykta-central collect` as a process. more: further options."""

    def __init__(self, folder: Path, broker: Broker, url: str = "", replica: str = "one", more: Sequence[str] = ()) -> None:
        self.broker, self.replica, self.metrics = broker, replica, free_port()
        self.url = url or f"sqlite:///{folder / 'collect.db'}"
        self.log, self._more = folder / f"collect-{replica}.log", more
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        begin = self.log.stat().st_size if self.log.exists() else 0
        words = [TOOL, "collect", self.broker.centre.folder, "--broker", f"127.0.0.1:{self.broker.operators}"]
        words += ["--database", self.url, "--replica", self.replica, "--metrics", f"127.0.0.1:{self.metrics}", *self._more]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        if wait:
            # The broker logs each subscription; the last one is of the plain kind.
            until(
                lambda: self.broker_up or (self.process and self.process.poll() is not None),
                f"it is connected: {self.log.read_text()}",
            )
            assert self.process.poll() is None, self.log.read_bytes()[begin:].decode()

    @property
    def broker_up(self) -> bool:
        return self.number("lykta_collect_broker_up") == 1

    def number(self, name: str) -> float:
        """A figure of /metrics, with its labels as they are written there; 0 if it is not there."""
        found = [line.rpartition(" ")[2] for line in self.figures().splitlines() if line.rpartition(" ")[0] == name]
        return float(found[0]) if found else 0.0

    def figures(self) -> str:
        words = ["curl", "-sS", f"http://127.0.0.1:{self.metrics}/metrics"]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE * 10).stdout

    def lines(self) -> list[str]:
        return whole_lines(self.log)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(PATIENCE * 10)

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE * 30)


@contextmanager
def collecting(collector: Collector) -> Iterator[Collector]:
    """Started, and ended without a traceback."""
    collector.start()
    try:
        yield collector
    finally:
        code = collector.end()
    assert code in (0, -signal.SIGKILL), collector.log.read_text()
    assert "Traceback" not in collector.log.read_text()


def ready(url: str) -> Engine:
    """The database with its tables, for tests that write without a broker."""
    engine = open_database(url)
    migrate(engine)
    return engine


def rows(engine: Engine, sql: str, **values: object) -> list[tuple[Any, ...]]:
    """What a query finds; empty where the tables are not there yet."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql), values)]


def stored(engine: Engine, talker: Talker) -> list[int]:
    """Numbers stored of an outbox."""
    sql = "SELECT seq FROM messages WHERE node = :node AND epoch = :epoch ORDER BY seq"
    return [seq for (seq,) in rows(engine, sql, node=talker.name, epoch=talker.epoch)]
