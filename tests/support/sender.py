"""The uplink's publisher in this process, over its real client and a real outbox: with a time limit that a test can wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from agent.outbox.outbox import Outbox
from agent.runtime.config import load
from agent.runtime.service import Runtime
from agent.uplink.health.trends import RoundTrip
from agent.uplink.lanes import Lane, Lanes
from agent.uplink.publisher import Publisher
from agent.uplink.storing import OutboxAccess
from agent.uplink.wire import BrokerWire
from drivers.mqtt.client import Client, Credentials
from provisioning.identity import tls_files
from tests.support.stop import Stop


@contextmanager
def sending(stop: Stop, outbox: Outbox, port: int, silent_s: float) -> Iterator[Publisher]:
    """silent_s: time in flight without an answer, after which the publisher disconnects."""
    runtime = Runtime("uplink", stop.layout, load(stop.layout.config))
    storing, wire, connected = OutboxAccess(runtime), BrokerWire(stop.here, RoundTrip(), lambda _tail: None), Event()
    publisher = Publisher(runtime, Lanes(Lane(runtime, outbox, storing)), storing, wire, silent_s)
    files = tls_files(stop.layout)
    wire.client = Client(
        stop.name,
        Credentials(files.ca, files.certificate, files.key),
        acknowledged=publisher.answered,
        changed=lambda up, _cause: connected.set() if up else connected.clear(),
        received=lambda _topic, _payload: None,
        returned=publisher.returned,
    )
    thread = runtime.spawn("publisher", lambda: publisher.run(connected))
    client = wire.client
    runtime.spawn("link", lambda: client.run("127.0.0.1", port))
    try:
        yield publisher
        assert thread.is_alive(), "the publisher works"
    finally:
        runtime.stop.set()
        thread.join()
        wire.client.close()
