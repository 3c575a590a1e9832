"""The HTTPS server: uvicorn with mutual TLS. uvicorn does not give the client's certificate to the application; this does.

Connections are limited (decision 0040): an unfinished handshake is closed after `HANDSHAKE_S`, the oldest first if there are
too many, so that new clients are not blocked by silent ones; a certificate may have a few connections; a client that sends no
header, or stops within a body, is disconnected.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from central.ingest.connection_limits import ConnectionListener, open_listener
from central.ingest.http import PEER, SERIAL
from drivers.threads import start
from privacy.errors import StorageError
from privacy.logs import log_of

HEADER_S, IDLE_S, REQUEST_S = 15.0, 30.0, 3600.0
"""Most seconds until a header is complete, between two blocks of a body, and for one request. A slow link needs ten minutes for
a part of 5 MB."""
LONGEST_HEADER = 16 * 1024
MOST_EACH = 8
"""Most connections of one certificate; a node uses one."""
_CHECK_EVERY = 10
"""Ticks of uvicorn (0.1 s each) between two checks for connections to close."""


class PeerProtocol(H11Protocol):
    """Puts common name and serial number of the client's certificate into the scope; the name is empty unless the role is `tls`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.began = self.last_data = monotonic()
        name, self.serial = _peer(transport.get_extra_info("ssl_object"))
        application = self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await application({**scope, PEER: name, SERIAL: self.serial}, receive, send)

        self.app = with_peer

    def data_received(self, data: bytes) -> None:
        self.last_data = monotonic()
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.began = self.last_data = monotonic()
        super().on_response_complete()

    def overdue(self, now: float) -> bool:
        """Whether the client exceeds a time limit. now: monotonic, seconds."""
        if not self.headers or self.cycle.response_complete:
            return now - self.began > HEADER_S
        waits = self.cycle.more_body and not self.flow.read_paused and now - self.last_data > IDLE_S
        return waits or now - self.began > REQUEST_S

    def abort(self) -> None:
        self.transport.abort()


class _Server(uvicorn.Server):
    """Accepts through a `ConnectionListener`, and checks once a second for connections to close."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        context = self.config.ssl
        assert context

        def protocol() -> PeerProtocol:
            return PeerProtocol(self.config, self.server_state, self.lifespan.state)

        self.servers = [ConnectionListener(one, context, protocol) for one in sockets or ()]  # type: ignore[misc]

    async def on_tick(self, counter: int) -> bool:
        if counter % _CHECK_EVERY == 0:
            _cut_off([one for one in self.server_state.connections if isinstance(one, PeerProtocol)])
        return await super().on_tick(counter)


def _cut_off(connections: list[PeerProtocol]) -> None:
    """Close overdue connections, and of each certificate those above `MOST_EACH` that have been idle longest."""
    now, each = monotonic(), Counter[int]()
    for one in sorted(connections, key=lambda one: one.last_data, reverse=True):
        each[one.serial] += 1
        if one.overdue(now) or each[one.serial] > MOST_EACH:
            one.abort()


def serve(app: Starlette, keys: Path, host: str, port: int, beside: Callable[[Event], None]) -> None:
    """Serve until SIGTERM or SIGINT, with `beside` in a thread of its own; `StorageError` if that thread ends by itself.

    keys: folder with ingest.pem, ingest.key and ca.pem. `UsageError` if the address cannot be used.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_config=log_of("uvicorn"),
        ssl_certfile=str(keys / "ingest.pem"),
        ssl_keyfile=str(keys / "ingest.key"),
        ssl_ca_certs=str(keys / "ca.pem"),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=LONGEST_HEADER,
    )
    server, listener = _Server(config), open_listener(host, port)
    with _running_beside(beside, server):
        server.run([listener])


@contextmanager
def _running_beside(work: Callable[[Event], None], server: uvicorn.Server) -> Iterator[None]:
    """Run `work` in a thread; if it ends by itself, stop the server: an ingest that no longer deletes must not go on."""
    stop = Event()
    failures: list[BaseException] = []

    def failed(problem: BaseException) -> None:
        failures.append(problem)
        server.should_exit = True

    def until_the_stop() -> None:
        work(stop)
        if not stop.is_set():
            raise RuntimeError("it returned")

    thread = start("sweep", until_the_stop, failed)
    try:
        yield
    finally:
        stop.set()
        thread.join()
    for failure in failures:
        raise StorageError(f"ingest: the deletion thread ended: {failure!r}", "the next start resumes") from failure


def _peer(connection: ssl.SSLObject | None) -> tuple[str, int]:
    certificate = (connection.getpeercert() if connection else None) or {}
    pairs: list[Any] = list(certificate.get("subject", ()))
    subject = {str(key): str(value) for entry in pairs for key, value in entry}
    name = subject.get("commonName", "") if subject.get("organizationalUnitName") == "tls" else ""
    return name, int(str(certificate.get("serialNumber", "0")), 16)
