"""The ingest: takes sealed objects from nodes over mutual TLS and answers with a signed receipt.

Who sends is known from the client certificate, never from the body. Every call may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from central.store import Part, Store
from privacy.errors import LyktaError, RecordError, SealError, UsageError
from privacy.manifest import RECEIPT, ClipId, Manifest, Receipt, read_manifest
from privacy.records import Authority, Signer, sha256_hex, sign

PEER = "lykta.peer"
_LONGEST_ANNOUNCEMENT = 256 * 1024


class Announcement(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/objects. Only clips for now; journal, report and diag come with their issues."""

    kind: str
    id: ClipId
    manifest: str
    md5: dict[str, list[str]] = {}


class HttpError(Exception):
    def __init__(self, status: int, error: str, hint: str) -> None:
        super().__init__(error)
        self.status, self.hint = status, hint


class Ingest:
    """The calls, over one store."""

    def __init__(self, store: Store, authority: Authority, receipts: Signer) -> None:
        self._store, self._authority, self._receipts = store, authority, receipts
        # A node that gave up waiting asks again while its first call still assembles: two at once would tear the object.
        self._assembling = asyncio.Lock()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/objects", _guard(self.announce), methods=["POST"]),
                Route("/v1/objects/{id}", _guard(self.look), methods=["GET"]),
                Route("/v1/objects/{id}/parts/{file}/{part:int}", _guard(self.put), methods=["PUT"]),
                Route("/v1/objects/{id}/complete", _guard(self.complete), methods=["POST"]),
            ],
            exception_handlers={HTTPException: _unrouted, Exception: _broken},
        )

    async def announce(self, request: Request) -> Response:
        wanted = await _announcement(request)
        token = wanted.manifest.encode()
        manifest = self._verified(token, request)
        if manifest.clip != wanted.id:
            raise HttpError(400, f"id: is not the manifest's clip (got {wanted.id})", "announce the clip by its own id")
        if manifest.state == "open":
            raise HttpError(400, f"object {manifest.clip}: is still running", "announce the clip when it is finished")
        known = self._store.token(wanted.id)
        if known is not None and known != token:
            raise HttpError(409, f"object {wanted.id}: is here with another manifest", "a clip has one manifest for ever")
        if known is None:
            await run_in_threadpool(self._store.announce, wanted.id, token)
        return self._answer(manifest)

    async def look(self, request: Request) -> Response:
        return self._answer(self._known(request)[0])

    async def put(self, request: Request) -> Response:
        manifest, _ = self._known(request)
        wanted = (request.path_params["file"], request.path_params["part"])
        part = next((p for p in self._store.parts(manifest) if (p.file, p.part) == wanted), None)
        if part is None:
            raise HttpError(404, f"part: no such part (got {wanted[0]} {wanted[1]})", "read the list of parts again")
        if self._store.receipt(manifest) is None:
            await self._store.put(manifest.clip, part, request.stream(), request.headers.get("content-md5", ""))
        return Response(status_code=204)

    async def complete(self, request: Request) -> Response:
        manifest, token = self._known(request)
        async with self._assembling:
            receipt = self._store.receipt(manifest) or await self._receive(manifest, token)
        return JSONResponse({"schema": "lykta.receipt/1", "receipt": receipt.decode()})

    async def _receive(self, manifest: Manifest, token: bytes) -> bytes:
        missing = [part for part in self._store.parts(manifest) if not part.done]
        if missing:
            raise HttpError(409, f"object {manifest.clip}: {len(missing)} parts are missing", "PUT them first")
        receipt = self._sign(manifest, token)
        await run_in_threadpool(self._store.assemble, manifest, token, receipt)
        return receipt

    def _known(self, request: Request) -> tuple[Manifest, bytes]:
        clip = request.path_params["id"]
        try:
            msgspec.convert(clip, ClipId)
        except msgspec.ValidationError as problem:
            raise HttpError(404, "object: not an object id", "ids are UUIDs of version 7") from problem
        token = self._store.token(clip)
        if token is None:
            raise HttpError(404, f"object {clip}: was not announced", "POST /v1/objects first")
        return self._verified(token, request), token

    def _verified(self, token: bytes, request: Request) -> Manifest:
        """The manifest, if a camera of our CA signed it and the caller's certificate names the same node."""
        manifest, signer = read_manifest(token, self._authority)
        node = f"{manifest.site}/{manifest.node}"
        if not node == signer.name == request.scope.get(PEER):
            raise HttpError(403, f"object: belongs to {node}, the certificate is {request.scope.get(PEER)}'s", "use the node's own")
        return manifest

    def _answer(self, manifest: Manifest) -> Response:
        receipt = self._store.receipt(manifest)
        parts: list[Part] = [] if receipt else self._store.parts(manifest)
        body = {"schema": "lykta.object/1", "id": manifest.clip, "parts": msgspec.to_builtins(parts)}
        return JSONResponse(body | {"receipt": receipt.decode() if receipt else None})

    def _sign(self, manifest: Manifest, token: bytes) -> bytes:
        received = datetime.now(UTC)
        record = Receipt(manifest.clip, "clip", manifest.site, manifest.node, sha256_hex(token), manifest.files, received)
        return sign(record, self._receipts, RECEIPT)


Call = Callable[[Request], Awaitable[Response]]
_STATUS: dict[type[LyktaError], int] = {SealError: 422, UsageError: 413, RecordError: 403}


def _guard(call: Call) -> Call:
    """Errors as JSON in the words of the design; a caller without a name gets nothing."""

    async def guarded(request: Request) -> Response:
        try:
            if not request.scope.get(PEER):
                raise HttpError(403, "certificate: names no node", "use the node's own TLS key")
            return await call(request)
        except HttpError as problem:
            return _error(problem.status, str(problem), problem.hint)
        except LyktaError as problem:
            return _error(_STATUS.get(type(problem), 500), str(problem), problem.hint)

    return guarded


async def _unrouted(request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    return _error(status, f"{request.method} {request.url.path}: no such call", "the calls are below /v1/objects")


async def _broken(request: Request, problem: Exception) -> Response:
    """The server's own log has the traceback; the node only learns that trying again can help."""
    return _error(
        500, f"{request.method} {request.url.path}: {type(problem).__name__}", "the centre's log says why; try again later"
    )


def _error(status: int, error: str, hint: str) -> Response:
    return JSONResponse({"error": error, "hint": hint}, status_code=status)


async def _announcement(request: Request) -> Announcement:
    data = b""
    async for block in request.stream():
        data += block
        if len(data) > _LONGEST_ANNOUNCEMENT:
            raise HttpError(413, "announcement: too long", "a manifest is a few kilobytes")
    try:
        wanted = msgspec.json.decode(data, type=Announcement)
    except (msgspec.DecodeError, msgspec.ValidationError) as problem:
        raise HttpError(400, f"announcement: {problem}", "kind, id and manifest are needed") from problem
    if wanted.kind != "clip":
        raise HttpError(400, f"kind: must be clip (got {wanted.kind!r})", "this centre takes clips only")
    return wanted
