"""HTTPS on the standard library: with mutual TLS to the ingest, without our certificate to the object store it points to."""

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
"""The longest silence that counts as an answer on its way: an ingest hashes what it assembles."""
ANSWER_S = 120.0
LONGEST_ANSWER = 4 << 20
"""Bytes: thirty orders of a thousand clips each come with one answer."""
_LONGEST_WAIT_S = 3600.0
_PROXY = "does a proxy or a login page of the network answer in its place? check [ingest] host and port"
Body = bytes | Iterable[bytes]


class Place(NamedTuple):
    host: str
    port: int
    path: str


class Client:
    """One connection, opened when needed and again after a failure.

    what      its name in errors
    answer_s  from the end of a request to the end of its answer, however steadily it drips
    """

    def __init__(self, what: str, host: str, port: int, context: ssl.SSLContext, answer_s: float = ANSWER_S) -> None:
        self._what, self._where, self._context, self._answer_s = what, (host, port), context, answer_s
        self._connection: http.client.HTTPSConnection | None = None
        self._ended = False

    def call(self, method: str, path: str, body: Body = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """The body of the answer; `UnreachableError`, `BusyError` or `IngestRefusedError`.

        body  bytes, or blocks of them with their Content-Length among the headers; a `LyktaError` of theirs ends the call
        """
        try:
            answer, data = self._exchange(method, path, body, headers or {})
        except LyktaError:
            self.close()  # half a body has left
            raise
        except http.client.InvalidURL as problem:
            raise self._unaskable(problem) from problem
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            where, why = "{}:{}".format(*self._where), str(problem) or type(problem).__name__
            raise UnreachableError(
                f"{self._what} {where}: {printable(why)}", "is it up, and are the certificates good?"
            ) from problem
        except ValueError as problem:
            raise self._unaskable(problem) from problem
        return self._judge(answer, data)

    def _unaskable(self, problem: Exception) -> RecordError:
        """For a path or header that HTTP cannot carry, from an earlier answer."""
        self.close()
        return RecordError(f"{self._what}: cannot be asked: {printable(problem)}", "the ingest asks for what is no HTTP")

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
        if connection.sock:
            connection.sock.settimeout(_TIMEOUT_S)
        whole = True
        try:
            connection.request(method, path, body, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            whole = False  # it may have said why before it hung up
        answer = connection.getresponse()
        data = answer.read(LONGEST_ANSWER + 1)
        if answer.length or len(data) > LONGEST_ANSWER:
            raise http.client.HTTPException("its answer is torn or too long")
        if not whole or not answer.isclosed():
            self.close()
        return answer, data

    def _connected(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(*self._where, timeout=_TIMEOUT_S, context=self._context)
            self._connection.response_class = self._answer  # type: ignore[assignment]
            self._connection.connect()
        if self._ended:
            raise ConnectionAbortedError("told to stop")
        return self._connection

    def _answer(self, sock: socket.socket, method: str | None = None) -> http.client.HTTPResponse:
        """An answer that has to be whole in time: a silence between two bytes is bounded by the socket, all of them by this."""
        answer = http.client.HTTPResponse(sock, method=method)
        answer.fp = io.BufferedReader(_Bounded(sock, answer.fp.detach(), time.monotonic() + self._answer_s))
        return answer

    def _judge(self, answer: http.client.HTTPResponse, data: bytes) -> bytes:
        if answer.status < 300:
            if self._what == "ingest" and data and data.lstrip()[:1] != b"{":
                raise UnreachableError(f"ingest: {answer.status}, but its answer is no JSON object", _PROXY)
            return data
        said = _refusal(data)
        error, hint = f"{self._what}: {printable(said.error or f'{answer.status} {answer.reason}')}", printable(said.hint)
        if answer.status in (429, 503):
            raise BusyError(
                _after_s(answer.headers.get("Retry-After", "")), error, hint or "it asks for a pause: it is tried again later"
            )
        raise IngestRefusedError(answer.status, error, hint or _hint(answer.status))


def _hint(status: int) -> str:
    """What to do about an answer that says nothing itself."""
    if status in (502, 504):
        return "a proxy stands before it and does not reach it: is the ingest up behind it?"
    if status in (401, 403, 407):
        return "does a proxy or firewall answer instead? or does it not take this node's certificate: `lykta check keys`"
    return _PROXY if status < 400 or status == 404 else "see the ingest's own log at the centre"


class _Bounded(io.RawIOBase):
    """What a socket gives until a moment (monotonic)."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, end_s: float) -> None:
        self._sock, self._raw, self._end_s = sock, raw, end_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        left = self._end_s - time.monotonic()
        if left <= 0:
            raise TimeoutError("its answer takes too long")
        self._sock.settimeout(min(left, _TIMEOUT_S))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Refusal(Struct, frozen=True):
    """What an ingest says with a status of 400 and more."""

    error: str = ""
    hint: str = ""


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
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(wait, 0.0), _LONGEST_WAIT_S)


def _refusal(data: bytes) -> _Refusal:
    """What was said; nothing for anything that is no such JSON, as a proxy's page of apology."""
    try:
        return decode(data, _Refusal, "answer")
    except RecordError:
        return _Refusal()
