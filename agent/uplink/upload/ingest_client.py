"""Client of the ingest's HTTP interface. Each call is idempotent and repeated after a failure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from agent.runtime.config import Ingest
from agent.uplink.upload.order_queue import OrderQueue
from agent.uplink.upload.parts import Item
from drivers.https import LONGEST_ANSWER, Client, anonymous, endpoint_of, mutual
from privacy.errors import IngestRefusedError, RecordError
from privacy.foreign import END, LONGEST, decode
from privacy.records.manifest import FileName
from provisioning.identity import TlsFiles

Token = Annotated[str, Meta(max_length=LONGEST)]
Tokens = tuple[Token, ...]
Url = Annotated[str, Meta(pattern=r"^[!-~]{1,8000}" + END)]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}" + END)]
HeaderValue = Annotated[str, Meta(pattern=r"^[ -~]{0,4096}" + END)]
_OTHER = "is this lykta-central's ingest, of a version that fits?"


class Part(Struct, frozen=True):
    """A part of a file that the ingest asks for. url: a path on the ingest, or a full URL of an object store."""

    file: FileName
    offset: Annotated[int, Meta(ge=0)]
    size: Annotated[int, Meta(ge=0, le=64 << 20)]
    url: Url
    done: bool
    headers: Annotated[dict[HeaderName, HeaderValue], Meta(max_length=32)] = field(default_factory=dict)


class IngestAnswer(Struct, frozen=True):
    """An answer: the parts, each with whether the centre has it; the receipt if it has all; orders for this node."""

    parts: tuple[Part, ...] = ()
    receipt: Token | None = None
    orders: Tokens = ()


class IngestClient:
    """heard: takes the orders that come with any answer."""

    def __init__(self, place: Ingest, files: TlsFiles, heard: OrderQueue) -> None:
        self._ca, self._heard = files.ca, heard
        self._ingest = Client("ingest", place.host, place.port, mutual(files.ca, files.certificate, files.key))
        # The object store last used: an ingest has one.
        self._store: tuple[tuple[str, int], Client] | None = None
        self._ended = False

    def announce(self, item: Item, md5: dict[str, list[str]]) -> IngestAnswer:
        """Announce an object: the parts still to send.

        For a journal segment the centre is asked first: if our record of it was lost after it was announced, the centre would take
        a newly packed parcel for a second chain of the same node.
        """
        if item.kind == "journal":
            try:
                return self._say("GET", f"/v1/objects/{item.id}")
            except IngestRefusedError as problem:
                if problem.status != 404:
                    raise
        return self._say("POST", "/v1/objects", {"kind": item.kind, "id": item.id, "manifest": item.token, "md5": md5})

    def put(self, part: Part, md5: str, blocks: Iterable[bytes]) -> None:
        headers = {**part.headers, "Content-MD5": md5, "Content-Length": str(part.size)}
        if part.url.startswith("/"):
            self._ingest.call("PUT", part.url, blocks, headers)
            return
        host, port, path = endpoint_of(part.url)
        self._store_at(host, port).call("PUT", path, blocks, headers)

    def complete(self, item: Item) -> str:
        """The receipt."""
        receipt = self._say("POST", f"/v1/objects/{item.id}/complete", {}).receipt
        if not receipt:
            raise RecordError(f"ingest: no receipt for {item.kind} {item.id}", "it stays and is offered again")
        return receipt

    def orders(self) -> None:
        """Ask for the orders that have no answer yet; they come into the queue."""
        self._say("GET", "/v1/orders")

    def answer(self, number: int, token: str) -> None:
        self._say("POST", f"/v1/orders/{number}/answer", {"answer": token})

    def close(self) -> None:
        for client in self._clients():
            client.close()

    def abort(self) -> None:
        """From another thread: abort a running call; no further call is possible."""
        self._ended = True
        for client in self._clients():
            client.abort()

    def _clients(self) -> list[Client]:
        return [self._ingest, *([self._store[1]] if self._store else [])]

    def _store_at(self, host: str, port: int) -> Client:
        if self._store is None or self._store[0] != (host, port):
            if self._store:
                self._store[1].close()
            self._store = ((host, port), Client("store", host, port, anonymous(self._ca)))
        if self._ended:
            self._store[1].abort()
        return self._store[1]

    def _say(self, method: str, path: str, body: dict[str, Any] | None = None) -> IngestAnswer:
        data = b"" if body is None else msgspec.json.encode(body)
        answer = self._ingest.call(method, path, data, {"Content-Type": "application/json"} if data else {})
        said = decode(answer or b"{}", IngestAnswer, "ingest", hint=_OTHER, most=LONGEST_ANSWER)
        self._heard.put(said.orders)
        return said
