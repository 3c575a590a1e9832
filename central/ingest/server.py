"""uvicorn with mutual TLS. It hides the client's certificate from the application; this protocol class hands on its name.

Connections are bounded (decision 0040): whoever has not shown a certificate is cut off after `HANDSHAKE_S`, the oldest first where
there are too many, so that newcomers get through a crowd of silent ones; each certificate gets a few connections; who sends no
header, or stops in a body, is cut off too.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from central.ingest.connection_limits import Doorway, listen
from central.ingest.http import PEER, SERIAL
from privacy.errors import StorageError
from privacy.logs import log_of

HEADER_S, IDLE_S, REQUEST_S = 15.0, 30.0, 3600.0
"""Until a header is whole; between two pieces of a body; for one request. Slow links send a part of 5 MB in ten minutes."""
LONGEST_HEADER = 16 * 1024
MOST_EACH = 8
"""Connections of one certificate; a node has one."""
_CHECK_EVERY = 10
"""Ticks of uvicorn (0.1 s each) between two looks for whom to cut off."""


class PeerProtocol(H11Protocol):
    """Puts common name and serial number of a node's TLS certificate (role `tls`) into the scope; another role gets no name."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.began = self.heard = monotonic()
        name, self.serial = _peer(transport.get_extra_info("ssl_object"))
        application = self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await application({**scope, PEER: name, SERIAL: self.serial}, receive, send)

        self.app = with_peer

    def data_received(self, data: bytes) -> None:
        self.heard = monotonic()
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.began = self.heard = monotonic()
        super().on_response_complete()

    def overdue(self, now: float) -> bool:
        """Whether the client has kept us waiting for too long."""
        if not self.headers or self.cycle.response_complete:
            return now - self.began > HEADER_S
        waits = self.cycle.more_body and not self.flow.read_paused and now - self.heard > IDLE_S
        return waits or now - self.began > REQUEST_S

    def cut(self) -> None:
        self.transport.abort()


class _Server(uvicorn.Server):
    """Listens through a `Doorway`, and looks once a second for connections to cut off."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        context = self.config.ssl
        assert context

        def protocol() -> PeerProtocol:
            return PeerProtocol(self.config, self.server_state, self.lifespan.state)

        self.servers = [Doorway(one, context, protocol) for one in sockets or ()]  # type: ignore[misc]

    async def on_tick(self, counter: int) -> bool:
        if counter % _CHECK_EVERY == 0:
            _cut_off([one for one in self.server_state.connections if isinstance(one, PeerProtocol)])
        return await super().on_tick(counter)


def _cut_off(connections: list[PeerProtocol]) -> None:
    """Those that keep us waiting, and of one certificate's the oldest that are too many."""
    now, each = monotonic(), Counter[int]()
    for one in sorted(connections, key=lambda one: one.heard, reverse=True):
        each[one.serial] += 1
        if one.overdue(now) or each[one.serial] > MOST_EACH:
            one.cut()


def serve(app: Starlette, keys: Path, host: str, port: int, beside: Callable[[Event], None]) -> None:
    """Run until told to stop, and `beside` in a thread of its own; `StorageError` if that ended by itself.

    `UsageError` if the address is taken.
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
    server, listener = _Server(config), listen(host, port)
    with _beside(beside, server):
        server.run([listener])


@contextmanager
def _beside(work: Callable[[Event], None], server: uvicorn.Server) -> Iterator[None]:
    """Crash-only: an ingest that takes and no longer deletes must not go on."""
    stop, ended = Event(), Event()

    def run() -> None:
        try:
            work(stop)
        finally:
            if not stop.is_set():
                ended.set()
                server.should_exit = True

    thread = Thread(target=run, name="sweep")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if ended.is_set():
        raise StorageError("ingest: deleting ended by itself", "the lines above say why; the next start goes on")


def _peer(connection: ssl.SSLObject | None) -> tuple[str, int]:
    certificate = (connection.getpeercert() if connection else None) or {}
    pairs: list[Any] = list(certificate.get("subject", ()))
    subject = {str(key): str(value) for entry in pairs for key, value in entry}
    name = subject.get("commonName", "") if subject.get("organizationalUnitName") == "tls" else ""
    return name, int(str(certificate.get("serialNumber", "0")), 16)
