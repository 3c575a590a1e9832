"""HTTPS on the standard library: with mutual TLS to the ingest, without our certificate to the object store it points to."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from privacy.errors import LyktaError, RecordError, UnreachableError

_TIMEOUT_S = 60.0
"""The longest silence that counts as an answer on its way: an ingest hashes what it assembles."""
_LONGEST_ANSWER = 8 << 20
_LONGEST_WAIT_S = 3600.0
Body = bytes | Iterable[bytes]


class RefusedError(LyktaError):
    """The server understood and said no; `status` is its HTTP code."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


class BusyError(UnreachableError):
    """The server asks us to come again later; `after_s` is how long it wants, 0 if it did not say."""

    def __init__(self, after_s: float, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.after_s = after_s


class Place(NamedTuple):
    host: str
    port: int
    path: str


class Client:
    """One connection, opened when needed and again after a failure. what: its name in errors."""

    def __init__(self, what: str, host: str, port: int, context: ssl.SSLContext) -> None:
        self._what, self._where, self._context = what, (host, port), context
        self._connection: http.client.HTTPSConnection | None = None
        self._ended = False

    def call(self, method: str, path: str, body: Body = b"", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON answer, {} if there is none; `UnreachableError`, `BusyError` or `RefusedError`.

        body  bytes, or blocks of them with their Content-Length among the headers; a `LyktaError` of theirs ends the call
        """
        try:
            answer, data = self._exchange(method, path, body, headers or {})
        except LyktaError:
            self.close()  # half a body has left
            raise
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            where, why = "{}:{}".format(*self._where), str(problem) or type(problem).__name__
            raise UnreachableError(f"{self._what} {where}: {why}", "is it up, and are the certificates good?") from problem
        return self._judge(answer, data)

    def abort(self) -> None:
        """From another thread, for good: end a call that is under way. Below TLS, so that nothing can be sent in clear after it."""
        self._ended = True
        line = self._connection.sock if self._connection else None
        if line:
            with suppress(OSError):
                socket.socket.shutdown(line, socket.SHUT_RDWR)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, path: str, body: Body, headers: Mapping[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self._connected()
        whole = True
        try:
            connection.request(method, path, body, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            whole = False  # it may have said why before it hung up
        answer = connection.getresponse()
        data = answer.read(_LONGEST_ANSWER)
        if answer.length:
            raise http.client.HTTPException("its answer is torn or too long")
        if not whole or not answer.isclosed():
            self.close()
        return answer, data

    def _connected(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(*self._where, timeout=_TIMEOUT_S, context=self._context)
            self._connection.connect()
        if self._ended:
            raise ConnectionAbortedError("told to stop")
        return self._connection

    def _judge(self, answer: http.client.HTTPResponse, data: bytes) -> dict[str, Any]:
        said = _object(data)
        if answer.status < 300:
            return said
        error, hint = f"{self._what}: {said.get('error', f'{answer.status} {answer.reason}')}", str(said.get("hint", ""))
        if answer.status in (429, 503):
            raise BusyError(_after_s(answer.headers.get("Retry-After", "")), error, hint or "it asks for a pause")
        raise RefusedError(answer.status, error, hint)


def mutual(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """For the ingest: we know it by the centre's CA alone, it knows us by our certificate."""
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(str(certificate), str(key))
    return context


def anonymous(ca: Path) -> ssl.SSLContext:
    """For an object store: known by the centre's CA or the system's; it is not shown who we are."""
    context = ssl.create_default_context()
    context.load_verify_locations(str(ca))
    return context


def place_of(url: str) -> Place:
    """Of a whole https:// URL; `RecordError` for any other, so that nothing ever leaves in clear."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError as problem:
        raise RecordError(f"part: url: {problem} (got {url[:80]!r})", "the ingest or its store is set up wrongly") from problem
    if parts.scheme != "https" or not host or parts.username is not None:
        raise RecordError(f"part: url: must be https://HOST… (got {url[:80]!r})", "the ingest or its store is set up wrongly")
    return Place(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _after_s(text: str) -> float:
    """Retry-After (RFC 9110 section 10.2.3): seconds or a date; never more than an hour."""
    try:
        wait = float(text) if text.isdecimal() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(wait, 0.0), _LONGEST_WAIT_S)


def _object(data: bytes) -> dict[str, Any]:
    """What was said; {} for anything that is no JSON object, as a proxy's page of apology."""
    try:
        said = json.loads(data) if data else {}
    except ValueError:
        said = {}
    return said if isinstance(said, dict) else {}
