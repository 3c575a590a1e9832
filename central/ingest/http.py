"""The ingest's HTTP interface: nodes upload sealed objects over mutual TLS and get a signed receipt.

The caller is identified by the client certificate, never by the body. Every call may be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from central.ingest.intake import AnnounceRequest, Intake, ObjectState
from central.keys.revocation_list import RevocationList
from central.store.port import PartWriter
from privacy.errors import LyktaError, RecordError, RequestRejectedError, SealError, UnreachableError
from privacy.foreign import decode

PEER, SERIAL = "lykta.peer", "lykta.serial"
_LONGEST = 256 * 1024
T = TypeVar("T")
Call = Callable[[Request], Awaitable[Response]]
_STATUS: dict[type[LyktaError], int] = {SealError: 422, RecordError: 403, UnreachableError: 503}


class AnswerRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/orders/<number>/answer: the signed answer."""

    answer: str


class Ingest:
    """The HTTP calls of one `Intake`."""

    def __init__(self, intake: Intake, revoked: RevocationList) -> None:
        self._intake, self._revoked = intake, revoked

    def app(self) -> Starlette:
        calls = [
            ("/v1/objects", self.announce, "POST"),
            ("/v1/objects/{id}", self.state, "GET"),
            ("/v1/objects/{id}/parts/{file}/{part}", self.put, "PUT"),
            ("/v1/objects/{id}/complete", self.complete, "POST"),
            ("/v1/orders", self.orders, "GET"),
            ("/v1/orders/{number}/answer", self.answer, "POST"),
        ]
        return Starlette(
            routes=[Route(path, self._with_checks(call), methods=[method]) for path, call, method in calls],
            exception_handlers={HTTPException: _no_such_call, Exception: _unexpected_error},
        )

    async def announce(self, request: Request) -> Response:
        wanted = await _body(request, AnnounceRequest, "announcement", "kind, id and manifest are needed")
        return await run_in_threadpool(lambda: self._state(self._intake.announce(wanted, _peer(request)), request))

    async def state(self, request: Request) -> Response:
        return await run_in_threadpool(lambda: self._state(self._intake.state_of(_id(request), _peer(request)), request))

    async def put(self, request: Request) -> Response:
        wanted = (_id(request), request.path_params["file"], _number(request, "part"), _peer(request))
        writer = await run_in_threadpool(self._intake.part_writer, *wanted)
        if writer:
            await _receive_part(writer, request)
        return Response(status_code=204)

    async def complete(self, request: Request) -> Response:
        return await run_in_threadpool(self._complete, request)

    async def orders(self, request: Request) -> Response:
        waiting = await run_in_threadpool(self._intake.orders.unanswered, _peer(request))
        return _json({"schema": "lykta.orders/1", "orders": waiting})

    async def answer(self, request: Request) -> Response:
        said = await _body(request, AnswerRequest, "answer", "the signed answer is needed")
        token = said.answer.strip().encode()
        await run_in_threadpool(self._intake.answer, _peer(request), _number(request, "number"), token)
        return Response(status_code=204)

    def _complete(self, request: Request) -> Response:
        receipt, waiting = self._intake.complete(_id(request), _peer(request)), self._intake.orders.unanswered(_peer(request))
        return _json({"schema": "lykta.receipt/1", "receipt": receipt.decode(), "orders": waiting})

    def _state(self, state: ObjectState, request: Request) -> Response:
        body = {"schema": "lykta.object/1", "id": state.id, "parts": state.parts}
        receipt = state.receipt.decode() if state.receipt else None
        return _json(body | {"receipt": receipt, "orders": self._intake.orders.unanswered(_peer(request))})

    def _with_checks(self, call: Call) -> Call:
        """Wrap a call: check the certificate first, and answer errors as JSON `{"error", "hint"}` with their HTTP status."""

        async def guarded(request: Request) -> Response:
            try:
                self._check_certificate(request)
                return await call(request)
            except ClientDisconnect:
                return Response(status_code=400)  # the client has gone; nobody receives it
            except LyktaError as problem:
                status = problem.status if isinstance(problem, RequestRejectedError) else _STATUS.get(type(problem), 500)
                if status == 403:
                    await run_in_threadpool(self._log_refusal, request, str(problem))
                return _error(status, str(problem), problem.hint)

        return guarded

    def _check_certificate(self, request: Request) -> None:
        if not _peer(request):
            raise RequestRejectedError(403, "certificate: names no node", "use the node's own TLS key")
        try:
            revoked = self._revoked.has(request.scope[SERIAL])
        except RecordError as problem:
            raise RequestRejectedError(
                503, "certificate: cannot be checked", "the centre must repair its revocation list, crl.pem"
            ) from problem
        if revoked:
            raise RequestRejectedError(403, f"certificate: of {_peer(request)} is revoked", "enrol the node again")

    def _log_refusal(self, request: Request, reason: str) -> None:
        """Refused access is an entry in the centre's journal, one an hour and node (R43)."""
        peer = _peer(request)
        self._intake.ledger.note_hourly(f"403 {peer}", "refused", node=peer, object="", what="access", reason=reason)


async def _receive_part(writer: PartWriter, request: Request) -> None:
    with writer:
        async for block in request.stream():
            writer.write(block)
        await run_in_threadpool(writer.keep, request.headers.get("content-md5", ""))


def _peer(request: Request) -> str:
    return str(request.scope.get(PEER) or "")


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _number(request: Request, name: str) -> int:
    """A number in the path; `RequestRejectedError` (404) if it is not one of 1 to 8 digits."""
    text = str(request.path_params[name])
    if not re.fullmatch(r"[0-9]{1,8}", text, re.ASCII):
        raise RequestRejectedError(404, f"{name}: no such {name} (got {text[:20]!r})", "a number of at most 8 digits")
    return int(text)


async def _no_such_call(request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    return _error(status, f"{request.method} {_path(request)}: no such call", "the calls are below /v1/objects and /v1/orders")


async def _unexpected_error(request: Request, problem: Exception) -> Response:
    """Any other exception: status 500. The server's log has the traceback; the node learns only the exception's name."""
    return _error(500, f"{request.method} {_path(request)}: {type(problem).__name__}", "the centre's log says why; try again later")


def _path(request: Request) -> str:
    """The path as requested. Not from `request.url`, which is made with the Host header and may be invalid."""
    return str(request.scope["path"])[:200]


def _error(status: int, error: str, hint: str) -> Response:
    return _json({"error": error, "hint": hint}, status)


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


async def _body(request: Request, into: type[T], name: str, hint: str) -> T:
    data = b""
    async for block in request.stream():
        data += block
        if len(data) > _LONGEST:
            raise RequestRejectedError(413, f"{name}: too long", "a manifest is a few kilobytes")
    try:
        return decode(data, into, name, hint=hint, most=_LONGEST)
    except RecordError as problem:
        raise RequestRejectedError(400, str(problem), hint) from problem
