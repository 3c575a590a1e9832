"""The console's HTTP server: uvicorn, with TLS or behind a proxy. The name in an officer's certificate goes into the scope."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import uvicorn
from msgspec import Struct
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from central.fleet.console.identity import PEER
from central.keys.access_log import OFFICER
from central.keys.bundle import Address
from privacy.errors import UsageError
from privacy.logs import log_of

MOST_CONNECTIONS = 500
_LONGEST_HEADER = 16 * 1024


class Tls(Struct, frozen=True):
    """Files in PEM: the server's certificate and key, and the CA of the officers' certificates (None: nobody shows one)."""

    certificate: Path
    key: Path
    client_ca: Path | None


class OfficerProtocol(H11Protocol):
    """Puts the name of a client's certificate into the scope if its role is `officer`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        name = officer_in(transport.get_extra_info("ssl_object"))
        application = self.app

        async def with_officer(scope: Any, receive: Any, send: Any) -> None:
            await application({**scope, PEER: name}, receive, send)

        self.app = with_officer


def officer_in(connection: ssl.SSLObject | None) -> str:
    """Common name in a certificate that TLS has verified; "" unless its role is `officer`."""
    certificate = (connection.getpeercert() if connection else None) or {}
    pairs: list[Any] = list(certificate.get("subject", ()))
    subject = {str(key): str(value) for entry in pairs for key, value in entry}
    return subject.get("commonName", "") if subject.get("organizationalUnitName") == OFFICER else ""


def make_server(app: Starlette, listen: Address, tls: Tls | None) -> uvicorn.Server:
    """A server for this application; `run()` serves until SIGTERM or SIGINT. `UsageError` if the certificate cannot be used."""
    secured: dict[str, Any] = {}
    if tls:
        secured = {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}
        if tls.client_ca:
            secured |= {"ssl_ca_certs": str(tls.client_ca), "ssl_cert_reqs": ssl.CERT_OPTIONAL}
    config = uvicorn.Config(
        app,
        host=listen.host,
        port=listen.port,
        http=OfficerProtocol,
        ws="none",
        lifespan="off",
        log_config=log_of("uvicorn"),
        # A header of a client must not change the address by which the proxy is known.
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=_LONGEST_HEADER,
        **secured,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as problem:
        raise UsageError(f"console: --tls: {problem}", "certificate, key and CA must be files in PEM") from problem
    return uvicorn.Server(config)
