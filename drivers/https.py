"""HTTPS client on the standard library: mutual TLS to the ingest, server-side TLS only to the object store that it refers to."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from privacy.errors import BusyError, IngestRefusedError, LyktaError, RecordError, UnreachableError
from privacy.foreign import decode, printable

_TIMEOUT_S = 60.0
"""Timeout of a single socket operation, seconds. Long, because an ingest hashes large objects before it answers."""
ANSWER_S = 120.0
"""Time for a whole answer, seconds."""
LONGEST_ANSWER = 4 << 20
"""Bytes. One answer may carry thirty orders of a thousand clips each."""
_LONGEST_WAIT_S = 3600.0
_PROXY = "does a proxy or a login page of the network answer in its place? check [ingest] host and port"
Body = bytes | Iterable[bytes]


class Endpoint(NamedTuple):
    """Where an https URL leads. path: with the query."""

    host: str
    port: int
    path: str


class Client:
    """One connection, opened when needed and reopened after a failure.

    what      the server's name in errors
    answer_s  seconds for a whole answer, also if its bytes arrive steadily
    """

    def __init__(self, what: str, host: str, port: int, context: ssl.SSLContext, answer_s: float = ANSWER_S) -> None:
        self._what, self._where, self._context, self._answer_s = what, (host, port), context, answer_s
        self._connection: http.client.HTTPSConnection | None = None
        self._ended = False

    def call(self, method: str, path: str, body: Body = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """Send one request and return the body of the answer. Raises `UnreachableError`, `BusyError`, `IngestRefusedError`, or
        `RecordError` if the path or a header cannot be sent.

        body  bytes, or an iterable of blocks with their Content-Length in the headers; a `LyktaError` raised by it is passed on
        """
        try:
            answer, data = self._exchange(method, path, body, headers or {})
        except LyktaError:
            self.close()  # part of the body was sent
            raise
        except http.client.InvalidURL as problem:
            raise self._invalid_request(problem) from problem
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            where, why = "{}:{}".format(*self._where), str(problem) or type(problem).__name__
            raise UnreachableError(
                f"{self._what} {where}: {printable(why)}", "is it running, and are the certificates valid?"
            ) from problem
        except ValueError as problem:
            raise self._invalid_request(problem) from problem
        return self._judge(answer, data)

    def _invalid_request(self, problem: Exception) -> RecordError:
        """The error for a path or header, taken from an earlier answer, that is not valid in HTTP."""
        self.close()
        return RecordError(
            f"{self._what}: invalid request: {printable(problem)}", "the ingest gave a path or header not valid in HTTP"
        )

    def abort(self) -> None:
        """End a running call, from another thread; the client cannot be used afterwards. Shuts down the TCP socket below TLS, so
        that nothing can be sent unencrypted."""
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
        if connection.sock:
            connection.sock.settimeout(_TIMEOUT_S)
        whole = True
        try:
            connection.request(method, path, body, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            whole = False  # the server may have sent the reason before it disconnected
        answer = connection.getresponse()
        data = answer.read(LONGEST_ANSWER + 1)
        if answer.length or len(data) > LONGEST_ANSWER:
            raise http.client.HTTPException("the answer is incomplete or too long")
        if not whole or not answer.isclosed():
            self.close()
        return answer, data

    def _connected(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(*self._where, timeout=_TIMEOUT_S, context=self._context)
            self._connection.response_class = self._answer  # type: ignore[assignment]
            self._connection.connect()
        if self._ended:
            raise ConnectionAbortedError("stopped by request")
        return self._connection

    def _answer(self, sock: socket.socket, method: str | None = None) -> http.client.HTTPResponse:
        """An answer with a time limit for the whole of it; the socket's timeout limits only the pause between two bytes."""
        answer = http.client.HTTPResponse(sock, method=method)
        answer.fp = io.BufferedReader(_Bounded(sock, answer.fp.detach(), time.monotonic() + self._answer_s))
        return answer

    def _judge(self, answer: http.client.HTTPResponse, data: bytes) -> bytes:
        if answer.status < 300:
            if self._what == "ingest" and data and data.lstrip()[:1] != b"{":
                raise UnreachableError(f"ingest: {answer.status}, but the answer is not a JSON object", _PROXY)
            return data
        found = _refusal(data)
        error, hint = f"{self._what}: {printable(found.error or f'{answer.status} {answer.reason}')}", printable(found.hint)
        if answer.status in (429, 503):
            raise BusyError(
                _after_s(answer.headers.get("Retry-After", "")), error, hint or "the server is busy: the node tries again later"
            )
        raise IngestRefusedError(answer.status, error, hint or _hint(answer.status))


def _hint(status: int) -> str:
    """The hint for an answer that contains none."""
    if status in (502, 504):
        return "a proxy answered: is the ingest running behind it?"
    if status in (401, 403, 407):
        return "does a proxy or firewall answer instead? or is this node's certificate refused: `lykta check keys`"
    return _PROXY if status < 400 or status == 404 else "see the ingest's own log at the centre"


class _Bounded(io.RawIOBase):
    """Reads a socket until a point in time (monotonic, seconds), then raises TimeoutError."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, end_s: float) -> None:
        self._sock, self._raw, self._end_s = sock, raw, end_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        left = self._end_s - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(min(left, _TIMEOUT_S))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Refusal(Struct, frozen=True):
    """The body of an ingest's answer with a status of 400 or more."""

    error: str = ""
    hint: str = ""


def mutual(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for the ingest: its certificate is checked against the centre's CA only, and the node sends its own certificate."""
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(str(certificate), str(key))
    return context


def anonymous(ca: Path) -> ssl.SSLContext:
    """TLS for an object store: its certificate is checked against the centre's CA and the system's; the node sends none."""
    context = ssl.create_default_context()
    context.load_verify_locations(str(ca))
    return context


def endpoint_of(url: str) -> Endpoint:
    """The parts of a complete https:// URL; `RecordError` for any other, so that nothing is ever sent unencrypted."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError as problem:
        raise RecordError(f"part: url: {problem} (got {url[:80]!r})", "the ingest or its store is set up wrongly") from problem
    if parts.scheme != "https" or not host or parts.username is not None:
        raise RecordError(f"part: url: must be https://HOST… (got {url[:80]!r})", "the ingest or its store is set up wrongly")
    return Endpoint(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _after_s(text: str) -> float:
    """Seconds to wait, from Retry-After (RFC 9110 section 10.2.3: seconds or a date); at most an hour, 0 if it is invalid."""
    try:
        wait = float(text) if text.isdecimal() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(wait, 0.0), _LONGEST_WAIT_S)


def _refusal(data: bytes) -> _Refusal:
    """The error in the answer; empty if the answer is not such JSON, e.g. the error page of a proxy."""
    try:
        return decode(data, _Refusal, "answer")
    except RecordError:
        return _Refusal()
