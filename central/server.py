"""uvicorn with mutual TLS. It hides the client's certificate from the application; this protocol class hands on its name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from central.ingest import PEER, SERIAL
from privacy.errors import StorageError


class PeerProtocol(H11Protocol):
    """Puts common name and serial number of a node's TLS certificate (role `tls`) into the scope; another role gets no name."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        name, serial = _peer(transport.get_extra_info("ssl_object"))
        application = self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await application({**scope, PEER: name, SERIAL: serial}, receive, send)

        self.app = with_peer


def serve(app: Starlette, keys: Path, host: str, port: int, beside: Callable[[Event], None]) -> None:
    """Run until told to stop, and `beside` in a thread of its own; `StorageError` if that ended by itself."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        ssl_certfile=str(keys / "ingest.pem"),
        ssl_keyfile=str(keys / "ingest.key"),
        ssl_ca_certs=str(keys / "ca.pem"),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    with _beside(beside, server):
        server.run()


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
