"""The centre as processes: mosquitto as `lykta-central broker` writes it, `lykta-central collect`, SQLite or PostgreSQL."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Engine, create_engine, text

from drivers.mqtt.packet_limits import Credentials, context_of
from tests.bench.fleet.node import Broker as Address
from tests.support.broker import Broker, Centre, free_port
from tests.support.collecting import Collector
from tests.support.postgres import Postgres, postgres

PLAIN_RIGHTS = "topic write lykta/v1/#\n\n"
"""For the listener without TLS: a client without a name may write; it stands before the first `user` of the access list."""


@dataclass
class Rig:
    """plain: port of the listener without TLS, 0 if there is none."""

    folder: Path
    centre: Centre
    broker: Broker
    collector: Collector
    server: Postgres | None
    plain: int

    def address(self, name: str) -> Address:
        """Where the node of that name connects; with TLS it gets a certificate of its own."""
        if self.plain:
            return Address(("127.0.0.1", self.plain), None)
        issued = self.centre.issue(name, "uplink", self.folder / "nodes", name.replace("/", "-"))
        return Address(("127.0.0.1", self.broker.port), context(self.centre.ca, issued))

    def reader(self) -> Engine:
        """Of the collector's database. Its own way of opening takes SQLite's write lock for each transaction."""
        file = self.collector.url.removeprefix("sqlite:///")
        return create_engine(self.collector.url if self.server else f"sqlite:///file:{file}?mode=ro&uri=true")

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU so far, by process; a collector that was started anew begins at 0."""
        found = {"broker": _seconds(self.broker_pid), "collector": 0.0, "fleet": _seconds(psutil.Process().pid)}
        if self.collector.process and self.collector.process.poll() is None:
            found["collector"] = _seconds(self.collector.process.pid)
        if self.server:
            found["database"] = sum(_seconds(one.pid) for one in psutil.process_iter() if one.name() == "postgres")
        return found

    @property
    def broker_pid(self) -> int:
        """The child of this process that listens."""
        return next(one.pid for one in psutil.Process().children() if one.name() == "mosquitto")


def context(ca: Path, certificate: Path) -> ssl.SSLContext:
    return context_of(Credentials(ca, certificate, certificate.with_suffix(".key")))


@contextmanager
def rig(folder: Path, *, tls: bool, database: str) -> Iterator[Rig]:
    """database: sqlite or postgresql. All is ended with the block."""
    with ExitStack() as stack:
        centre = Centre(folder / "keys")
        broker = Broker(folder / "broker", centre)
        plain = 0 if tls else _open_plain(broker)
        broker.start()
        stack.callback(broker.stop)
        server = stack.enter_context(postgres()) if database == "postgresql" else None
        if server:
            _note_commits(server)
        collector = Collector(folder, broker, server.url if server else "")
        collector.start()
        stack.callback(collector.end)
        yield Rig(folder, centre, broker, collector, server, plain)


def _open_plain(broker: Broker) -> int:
    """A listener more, without TLS and without names: what a node says there is not checked."""
    port, configuration, rights = free_port(), broker.folder / "broker.conf", broker.folder / "broker.acl"
    lines = configuration.read_text().replace("allow_anonymous false", "allow_anonymous true")
    lines = lines.replace("log_type all", "log_type warning")
    configuration.write_text(f"{lines}listener {port} 127.0.0.1\n")
    rights.write_text(PLAIN_RIGHTS + rights.read_text())
    return port


def _note_commits(server: Postgres) -> None:
    """PostgreSQL then knows of each row when it was committed."""
    engine = create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET track_commit_timestamp = on"))
    engine.dispose()
    server.stop()
    server.start()


def _seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
