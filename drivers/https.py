"""HTTPS with mutual TLS, on the standard library: what the uploader needs of it and no more."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from privacy.errors import LyktaError, UnreachableError

_TIMEOUT_S = 30.0


class RefusedError(LyktaError):
    """The server understood and said no; `status` is its HTTP code."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


class Client:
    """One connection, opened when needed and again after a failure."""

    def __init__(self, host: str, port: int, ca: Path, certificate: Path, key: Path) -> None:
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.load_cert_chain(str(certificate), str(key))
        self._where = (host, port)
        self._connection: http.client.HTTPSConnection | None = None

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> dict[str, Any]:
        """The JSON answer, {} if there is none; `UnreachableError` or `RefusedError`."""
        host, port = self._where
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            answer, data = self._exchange(method, path, body, named)
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            why = str(problem) or type(problem).__name__
            raise UnreachableError(f"ingest {host}:{port}: {why}", "is it up, and is our certificate good?") from problem
        said = _object(data)
        if answer.status >= 400:
            raise RefusedError(answer.status, f"ingest: {said.get('error', answer.reason)}", str(said.get("hint", "")))
        return said

    def abort(self) -> None:
        """From another thread: end a call that is under way. Below TLS, so that nothing can be sent in clear after it."""
        line = self._connection.sock if self._connection else None
        if line:
            with suppress(OSError):
                socket.socket.shutdown(line, socket.SHUT_RDWR)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(*self._where, timeout=_TIMEOUT_S, context=self._context)
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer, answer.read()


def _object(data: bytes) -> dict[str, Any]:
    """What was said; {} for anything that is no JSON object, as a proxy's page of apology."""
    try:
        said = json.loads(data) if data else {}
    except ValueError:
        said = {}
    return said if isinstance(said, dict) else {}
