"""Requests to a service on this machine: one JSON line each way over a Unix socket.

Both sides limit the bytes they read and the duration of the whole exchange: neither slow nor endless input blocks a service, and
clients of one socket are served in parallel.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from agent.runtime.foreign_input import handling
from privacy.errors import AccessError, LyktaError, RecordError, UnreachableError
from privacy.foreign import decode, printable

T = TypeVar("T")
LONGEST_REQUEST = 72 * 1024
"""Bytes of a request: a signed record and the fields around it."""
LONGEST_ANSWER = 640 * 1024
"""Bytes of an answer: a visit's picture of pure noise, 640 x 640 pixels, in base64."""
EXCHANGE_S = 2.0
"""Time a client may take to send its request, and again to read its answer."""
_MOST_CALLERS = 32
_POLL_S = 0.2
_LONGEST_ERROR = 1000


class Request(Struct, Generic[T], frozen=True, forbid_unknown_fields=True, tag_field="verb"):
    """A request whose answer is a T; `answer` is that type. More than its fields is refused."""

    answer: ClassVar[Any]


class Reply(NamedTuple):
    """Handler of one kind of request. `give` takes the request, and returns the answer or raises `LyktaError`."""

    kind: type[Request[Any]]
    give: Callable[[Any], object]


Replies = dict[str, Reply]
"""By verb."""


class _Verb(Struct, frozen=True):
    verb: str


class _Refusal(Struct, frozen=True):
    """An answer that carries an error."""

    error: str = ""
    hint: str = ""


def ask(path: Path, request: Request[T], timeout: float = EXCHANGE_S) -> T:
    """The service's answer; its error as `LyktaError`; `UnreachableError` without a service, after a timeout or for another form.

    timeout  of the whole exchange, seconds
    """
    found: T = ask_for(request.answer, path, request, timeout)
    return found


def ask_for(into: Any, path: Path, request: Request[Any], timeout: float = EXCHANGE_S) -> Any:
    """The same, with the answer decoded as this type."""
    name = path.parent.name
    try:
        data = _exchange(path, msgspec.json.encode(request) + b"\n", time.monotonic() + timeout)
        refusal = decode(data, _Refusal, "answer", most=LONGEST_ANSWER)
        if not refusal.error:
            return decode(data, into, "answer", most=LONGEST_ANSWER)
    except PermissionError as problem:
        raise AccessError(f"{path}: {problem.strerror}", "join the group lykta-cli, or use sudo") from problem
    except (FileNotFoundError, ConnectionRefusedError) as problem:
        raise UnreachableError(f"{name}: is not running", f"systemctl status lykta-{name}") from problem
    except (OSError, RecordError) as problem:
        raise UnreachableError(f"{name}: does not answer: {problem}", f"systemctl status lykta-{name}") from problem
    raise LyktaError(printable(refusal.error, _LONGEST_ERROR), printable(refusal.hint, _LONGEST_ERROR))


def _exchange(path: Path, request: bytes, end_s: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        _connect(line, path, end_s)
        line.sendall(request)
        data = bytearray()
        while not data.endswith(b"\n"):
            line.settimeout(_left_s(end_s))
            part = line.recv(65536)
            data += part
            if not part or len(data) > LONGEST_ANSWER:
                raise ConnectionError("no whole answer")
    return bytes(data)


def _connect(line: socket.socket, path: Path, end_s: float) -> None:
    """Connect, repeating while the queue of the socket is full: Linux then refuses at once (EAGAIN)."""
    while True:
        line.settimeout(_left_s(end_s))
        try:
            return line.connect(str(path))
        except BlockingIOError:
            time.sleep(0.01)


def _left_s(end_s: float) -> float:
    left = end_s - time.monotonic()
    if left <= 0:
        raise TimeoutError("no whole answer in time")
    return left


def listen(path: Path, replies: Replies, going_on: Callable[[], bool], longest: int = LONGEST_REQUEST) -> None:
    """Answer requests on a socket while `going_on`, which is asked at least every second. One handler at a time: each is fast.

    The path may be a link into a folder with other permissions than this one. longest: bytes of a request.
    """
    path = path.resolve()
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door, selectors.DefaultSelector() as waits:
        door.bind(str(path))
        path.chmod(0o660)
        door.listen(_MOST_CALLERS)
        door.setblocking(False)
        desk = _RequestHandler(door, waits, replies, longest)
        while going_on():
            desk.serve()
        desk.close()
    path.unlink(missing_ok=True)


class _Caller:
    """One connection: the request so far, then the rest of the answer. end_s: when it is closed (monotonic)."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.said = bytearray()
        self.answer = b""
        self.end_s = time.monotonic() + EXCHANGE_S

    def read(self, longest: int) -> bool:
        """Read; whether the request is complete. Bytes beyond the limit are discarded, up to the request's end."""
        part = self.line.recv(65536)
        if len(self.said) <= longest:
            self.said += part
        return not part or part.endswith(b"\n")

    def send(self) -> bool:
        """Send; whether the whole answer is sent."""
        with suppress(BlockingIOError):
            self.answer = self.answer[self.line.send(self.answer) :]
        return not self.answer


class _RequestHandler:
    """The connections of one socket. Beyond `_MOST_CALLERS` the oldest is closed."""

    def __init__(self, door: socket.socket, waits: selectors.BaseSelector, replies: Replies, longest: int) -> None:
        self._door, self._waits, self._replies, self._longest = door, waits, replies, longest
        self._callers: list[_Caller] = []
        waits.register(door, selectors.EVENT_READ)

    def serve(self) -> None:
        """Handle all connections that are ready, after a short wait."""
        for key, _ in self._waits.select(_POLL_S):
            if key.data is None:
                self._admit()
            elif key.data in self._callers:
                self._attend(key.data)
        now_s = time.monotonic()
        for caller in [caller for caller in self._callers if now_s > caller.end_s]:
            self._disconnect(caller)

    def close(self) -> None:
        for caller in self._callers.copy():
            self._disconnect(caller)

    def _admit(self) -> None:
        with suppress(OSError):  # the client disconnected before it was accepted
            line, _ = self._door.accept()
            line.setblocking(False)
            self._callers.append(caller := _Caller(line))
            self._waits.register(line, selectors.EVENT_READ, caller)
        if len(self._callers) > _MOST_CALLERS:
            self._disconnect(self._callers[0])

    def _attend(self, caller: _Caller) -> None:
        try:
            if not caller.answer and caller.read(self._longest):
                self._reply(caller)
            # At once: a request may end the service, and its answer must be sent before.
            done = bool(caller.answer) and caller.send()
        except OSError:
            done = True  # a client that disconnects before its answer is no fault of the service
        if done:
            self._disconnect(caller)

    def _reply(self, caller: _Caller) -> None:
        before_s = time.monotonic()
        caller.answer = _answer(bytes(caller.said), self._replies, self._longest)
        self._waits.modify(caller.line, selectors.EVENT_WRITE, caller)
        now_s = time.monotonic()
        caller.end_s = now_s + EXCHANGE_S
        for other in self._callers:  # they could not be served meanwhile
            other.end_s += now_s - before_s

    def _disconnect(self, caller: _Caller) -> None:
        self._callers.remove(caller)
        self._waits.unregister(caller.line)
        caller.line.close()


def _answer(text: bytes, replies: Replies, longest: int) -> bytes:
    """The answer; an error becomes an answer too, and ends nothing."""
    try:
        with handling("request"):
            return msgspec.json.encode(_replied(text, replies, longest)) + b"\n"
    except LyktaError as problem:
        refusal = _Refusal(printable(problem, _LONGEST_ERROR), printable(problem.hint, _LONGEST_ERROR))
        return msgspec.json.encode(refusal) + b"\n"


def _replied(text: bytes, replies: Replies, longest: int) -> object:
    hint = 'send {"verb":"status"}'
    verb = decode(text, _Verb, "request", hint=hint, most=longest).verb
    reply = replies.get(verb)
    if reply is None:
        raise RecordError(f"request: unknown verb (got {verb[:40]!r})", f"known: {', '.join(sorted(replies))}")
    return reply.give(decode(text, reply.kind, f"request: {verb}", most=longest))


def verb_of(kind: type[Request[Any]]) -> str:
    """The verb that names this kind of request."""
    return str(kind.__struct_config__.tag)
