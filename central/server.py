"""uvicorn with mutual TLS. It hides the client's certificate from the application; this protocol class hands on its name."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from central.ingest import PEER


class PeerProtocol(H11Protocol):
    """Puts the common name of a node's TLS certificate (role `tls`) into the scope; another role gets no name."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        name, application = _name(transport.get_extra_info("ssl_object")), self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await application({**scope, PEER: name}, receive, send)

        self.app = with_peer


def serve(app: Starlette, keys: Path, host: str, port: int) -> None:
    """Run until told to stop."""
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
    uvicorn.Server(config).run()


def _name(connection: ssl.SSLObject | None) -> str:
    certificate = connection.getpeercert() if connection else None
    pairs: list[Any] = list((certificate or {}).get("subject", ()))
    subject = {str(key): str(value) for entry in pairs for key, value in entry}
    return subject.get("commonName", "") if subject.get("organizationalUnitName") == "tls" else ""
