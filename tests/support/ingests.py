"""Ingests for the uploader's tests: the centre's own as a process, one that somebody else made, and an object store beside it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from central.keys.keygen import authority, signer
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import PART, RECEIPT, Manifest, Parcel, Receipt, read_object
from tests.support.broker import NAME, PATIENCE, Centre, until
from tests.support.stop import LYKTA, Stop


class Ingest:
    """`lykta-central ingest` as a process that can be killed and started again."""

    def __init__(self, centre: Centre, store: Path, port: int) -> None:
        self.centre, self.store, self._port = centre, store, port
        self.start()

    def start(self) -> None:
        words = [
            LYKTA.with_name("lykta-central"),
            "ingest",
            "--keys",
            self.centre.folder,
            "--store",
            self.store,
            "--port",
            str(self._port),
        ]
        self._process = subprocess.Popen(words, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE * 10)

    def file(self, clip: str, name: str) -> Path:
        return self.store / NAME / clip / name

    def received(self) -> int:
        """Bytes of parts and of finished objects."""
        found = (Path(folder, name) for folder, _, names in os.walk(self.store) for name in names if ".age" in name)
        return sum(map(_size, found))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE * 10)


def _size(path: Path) -> int:
    """0 of a file that was given its last name meanwhile."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


class Server(ThreadingHTTPServer):
    """TLS on 127.0.0.1 with the centre's certificate; `wants` says what becomes of the client's."""

    daemon_threads = True

    def __init__(self, centre: Centre, port: int, answers: type[BaseHTTPRequestHandler], wants: ssl.VerifyMode) -> None:
        super().__init__(("127.0.0.1", port), answers)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(centre.ca))
        context.verify_mode = wants
        context.load_cert_chain(centre.folder / "ingest.pem", centre.folder / "ingest.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.centre = centre
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what the tests are about."""

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        thread.start()
        yield
        self.shutdown()
        thread.join()
        self.server_close()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def say(self, status: int, what: dict[str, Any], **headers: str) -> None:
        data = b"" if status == 204 else json.dumps(what).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Store(Server):
    """What S3 is to the uploader: takes what a URL names. Known by the centre's certificate; writes down whom it saw."""

    def __init__(self, centre: Centre, port: int) -> None:
        super().__init__(centre, port, StoreAnswers, ssl.CERT_OPTIONAL)
        self.taken: dict[str, bytes] = {}
        self.headers: list[dict[str, str]] = []
        self.peers: list[object] = []


class StoreAnswers(Answers):
    server: Store

    def do_PUT(self) -> None:
        self.server.peers.append(self.connection.getpeercert())  # type: ignore[attr-defined]
        self.server.headers.append(dict(self.headers))
        self.server.taken[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.say(200, {})


class OddIngest(Server):
    """An ingest made by somebody else, after the published calls; it can be told to misbehave.

    It verifies what is announced and signs real receipts. counted: bytes of bodies that came for each part, whole or not.
    """

    def __init__(self, centre: Centre, port: int) -> None:
        super().__init__(centre, port, OddAnswers, ssl.CERT_REQUIRED)
        self.part_size = PART
        self.records: dict[str, tuple[Manifest | Parcel, str]] = {}
        self.announced: list[str] = []
        self.md5: dict[str, dict[str, list[str]]] = {}
        self.parts: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.counted: dict[str, int] = {}
        self.times: list[float] = []
        self.orders: dict[int, str] = {}
        self.answers: list[tuple[int, str]] = []
        self.refuses_answers = False
        self.polls = 0
        self.breaks: set[str] = set()
        """Parts at which it hangs up, once each."""
        self.refused = self.nosy = ""
        self.refuse_all_of: set[str] = set()
        """Kinds."""
        self.refuse_with = 403
        self.refusals: list[str] = []
        """Ids that it refused, in order."""
        self.busy = 0
        """How many calls it answers with 503 first."""
        self.url = ""
        """Of the object store that it points to."""
        self.receipt_of = ""
        """Whose receipt it gives instead of the right one."""
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self.stalls_after = -1
        """After so many bytes of a body it stops reading until `go_on`."""
        self.hangs_up = False
        """Of a body at which it stalled it reads no more: else what lies in the buffers on the way would count as having come."""

    def receipt(self, name: str) -> str:
        record, token = self.records[self.receipt_of or name]
        received = Receipt(
            record.id, record.kind, record.site, record.node, sha256_hex(token.encode()), record.files, datetime.now(UTC)
        )
        return sign(received, signer(self.centre.folder, "receipt"), RECEIPT).decode()

    def clips_put(self) -> list[str]:
        """Ids in the order in which their parts began to arrive, each once."""
        return list(dict.fromkeys(path.split("/")[1] for path in self.puts))

    def parts_of(self, name: str) -> list[dict[str, Any]]:
        record, _ = self.records[name]
        return [
            {"file": file.name, "part": at // self.part_size + 1, "offset": at, "size": min(self.part_size, file.size - at)}
            | {"url": f"{self.url}/{name}/{file.name}/{at}", "done": f"/{name}/{file.name}/{at}" in self.parts}
            for file in record.files
            for at in range(0, max(1, file.size), self.part_size)
        ]


class OddAnswers(Answers):
    server: OddIngest

    def do_GET(self) -> None:
        if self.path == "/v1/orders":
            self.server.polls += 1
            self.say(200, {"schema": "lykta.orders/1", **self._orders()})
        elif (name := self.path.split("/")[3]) in self.server.records:
            self._look(name)
        else:
            self.say(404, {"error": f"object {name}: was not announced", "hint": "POST /v1/objects first"})

    def do_POST(self) -> None:
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.times.append(time.monotonic())
        if server.busy:
            server.busy -= 1
            self.say(503, {"error": "too many", "hint": "later"}, Retry_After="1")
        elif self.path.startswith("/v1/orders/"):
            number = int(self.path.split("/")[3])
            server.answers.append((number, body["answer"]))
            if server.refuses_answers:
                self.say(403, {"error": "answer: is not of this node", "hint": "sign it with the node's own key"})
                return
            server.orders.pop(number, None)
            self.say(204, {})
        elif self.path.endswith("/complete"):
            name = self.path.split("/")[3]
            self.say(200, {"schema": "lykta.receipt/1", "receipt": server.receipt(name), **self._orders()})
        else:
            self._announce(body)

    def do_PUT(self) -> None:
        server, size = self.server, int(self.headers["Content-Length"])
        server.puts.append(self.path)
        body = self._body(size)
        if self.path in server.breaks:
            server.breaks.discard(self.path)
            self.close_connection = True
            return
        with server.lock:
            if len(body) == size:
                server.parts[self.path] = body
        self.say(200, {})

    def _body(self, size: int) -> bytes:
        server, body = self.server, b""
        while len(body) < size and (block := self.rfile.read(min(16384, size - len(body)))):
            body += block
            with server.lock:
                server.counted[self.path] = server.counted.get(self.path, 0) + len(block)
            if 0 <= server.stalls_after <= sum(server.counted.values()):
                server.stalled.set()
                server.go_on.wait(PATIENCE * 60)
                if server.hangs_up:
                    self.close_connection = True
                    break
        return body

    def _announce(self, body: dict[str, Any]) -> None:
        server, name = self.server, body["id"]
        if name == server.refused or body["kind"] in server.refuse_all_of:
            server.refusals.append(name)
            self.say(server.refuse_with, {"error": "object: belongs to another", "hint": "use the node's own"})
            return
        token = body["manifest"]
        record, signed_by = read_object(body["kind"], token.encode(), authority(server.centre.folder))
        assert (record.id, signed_by.name) == (name, f"{record.site}/{record.node}")
        if name in server.records and server.records[name][1] != token:
            self.say(409, {"error": "object: is here with another manifest", "hint": "it has one for ever"})
            return
        server.records[name] = (record, token)
        server.announced.append(name)
        server.md5[name] = body["md5"]
        self._look(name)

    def _look(self, name: str) -> None:
        parts = self.server.parts_of(name)
        receipt = self.server.receipt(name) if all(part["done"] for part in parts) else None
        if name == self.server.nosy:
            parts = [part | {"file": "hold.jws"} for part in parts]
        self.say(200, {"schema": "lykta.object/1", "id": name, "parts": parts, "receipt": receipt, **self._orders()})

    def _orders(self) -> dict[str, Any]:
        return {"orders": list(self.server.orders.values())}


def settings(config: Path, **upload: str) -> None:
    """Give the node's configuration a section [upload], values as TOML."""
    config.write_text(config.read_text() + "[upload]\n" + "".join(f"{key} = {value}\n" for key, value in upload.items()))


def in_inbox(stop: Stop, clip: str) -> Path:
    return stop.layout.inbox / "receipts" / f"{clip}.jws"


def until_quiet(count: Callable[[], int], quiet_s: float = 2.0) -> int:
    """Wait until a count has not changed for a while; the count."""
    last, since = count(), time.monotonic()

    def still() -> bool:
        nonlocal last, since
        if count() != last:
            last, since = count(), time.monotonic()
        return time.monotonic() - since > quiet_s

    until(still, "all is quiet", 60)
    return last
