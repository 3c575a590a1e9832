"""14.A2: nothing that an ingest says ends the uplink or holds it for long: not in headers, not in a body, not in its pace."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Iterator
from threading import Event

import pytest

from drivers.https import Client, mutual
from privacy.errors import RecordError, UnreachableError
from tests.support.broker import PATIENCE, Broker, until
from tests.support.ingests import Answers, Server
from tests.support.stop import Stop

PART = {"file": "clip.age", "offset": 0, "size": 10, "url": "/v1/x", "done": False}
GZIP = gzip.compress(json.dumps({"receipt": "a"}).encode())


def body(data: bytes, *more: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *more, "", ""])
    return head.encode("latin-1", "replace") + data


def parts(**changes: object) -> bytes:
    return body(json.dumps({"parts": [{**PART, **changes}]}).encode())


SAID = {
    "header with crlf": parts(headers={"X-A": "b\r\nTransfer-Encoding: chunked"}),
    "name with crlf": parts(headers={"X-A: b\r\nX-C": "d"}),
    "header with nul": parts(headers={"X-A": "\0"}),
    "header not latin": parts(headers={"X-A": "見"}),
    "many headers": parts(headers={f"X-{number}": "a" for number in range(5000)}),
    "url with crlf": parts(url="/v1/x HTTP/1.1\r\nHost: other\r\n\r\n"),
    "url not ascii": parts(url="/v1/見"),
    "url with a port of digits": parts(url="https://localhost:" + "9" * 5000 + "/x"),
    "url of no host": parts(url="https:///x"),
    "size of 1e18": parts(size=10**18),
    "offset of 1e30": parts(offset=10**30),
    "file outside": parts(file="../../../etc/lykta/credentials/tls.key"),
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
    "endless header": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000,
    "endless continues": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "no http": b"\0\xff\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
    "gzip": body(GZIP, "Content-Encoding: gzip"),
    "huge": body(b"[" * 5_000_000),
    "chunked nonsense": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "endless chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + bytes(1 << 20) + b"\r\n",
    "a page": body(b"<html>We are sorry</html>", "Content-Type: text/html"),
    "deep": body(b'{"parts":' + b"[" * 9000 + b"]" * 9000 + b"}"),
    "digits": body(b'{"parts":[{"offset":' + b"9" * 5000 + b"}]}"),
    "surrogate": body(b'{"orders":["\\ud800"],"receipt":"\\ud800"}'),
    "list": body(b"[]"),
    "null": body(b"null"),
    "receipt of another kind": body(b'{"receipt":{}}'),
    "receipt of rubbish": body(b'{"receipt":"a.b.c"}'),
    "orders of rubbish": body(json.dumps({"orders": ["", "a.b.c", "å", "x" * 60_000]}).encode()),
    "redirect": body(b"", "Location: https://elsewhere/", status="302 Found"),
    "error with controls": body(b'{"error":"\\u001b[2J\\nerror: all is well","hint":"\\u0000"}', status="400 \xff\x1b[2J"),
    "error that is an object": body(b'{"error":{},"hint":[]}', status="403 Forbidden"),
    "retry after for ever": body(b"", "Retry-After: " + "9" * 5000, status="503 Later"),
    "retry after in year 99999": body(b"", "Retry-After: Sat, 28 Nov 99999 20:00:00 GMT", status="503 Later"),
}


class Hostile(Server):
    """Says the same to everybody, a byte at a time if it drips."""

    def __init__(self, broker: Broker, port: int) -> None:
        super().__init__(broker.centre, port, HostileAnswers, ssl.CERT_REQUIRED)
        self.said, self.asked, self.drips, self.over = b"", 0, False, Event()


class HostileAnswers(Answers):
    server: Hostile

    def handle_one_request(self) -> None:
        self.connection.settimeout(PATIENCE * 20)
        self.rfile.readline(70_000)
        self.server.asked += 1
        self.close_connection = True
        if not self.server.drips:
            self.wfile.write(self.server.said)
            return
        while not self.server.over.wait(0.05):
            self.wfile.write(b"A")


@pytest.fixture
def hostile(broker: Broker, ingest_port: int) -> Iterator[Hostile]:
    server = Hostile(broker, ingest_port)
    with server.running():
        yield server


@pytest.mark.slow
def test_nothing_that_the_ingest_says_ends_the_uplink(stop: Stop, hostile: Hostile) -> None:
    """For each a fresh uplink: its pauses grow with what went wrong before."""
    stop.seal_clip(1000)
    for name, said in SAID.items():
        hostile.said, hostile.asked = said, 0
        stop.start()
        until(lambda: hostile.asked, f"it asks: {name}", 40)
        until(lambda: stop.detail("upload_error"), f"it says what is wrong: {name}", 40)
        error = str(stop.detail("upload_error"))
        assert error.isprintable(), name
        assert len(error) < 1000, name
        assert stop.end() == 0, (name, stop.log.read_text())
    assert "Traceback" not in stop.log.read_text()


def test_an_answer_has_to_be_whole_in_its_time(stop: Stop, hostile: Hostile) -> None:
    """A byte every 50 ms is never silent; the uplink stood still behind it for ever."""
    hostile.drips = True
    tls = stop.layout.certificates / "tls"
    context = mutual(stop.layout.trust / "ca.pem", tls.with_suffix(".pem"), tls.with_suffix(".key"))
    client = Client("ingest", "127.0.0.1", hostile.server_port, context, answer_s=1.0)
    try:
        with pytest.raises(UnreachableError):
            client.call("GET", "/v1/orders")
    finally:
        hostile.over.set()
        client.close()


def test_a_path_that_is_none_is_the_fault_of_who_gave_it(stop: Stop, hostile: Hostile) -> None:
    """It was taken for an outage, which ends the round for every other object too."""
    tls = stop.layout.certificates / "tls"
    context = mutual(stop.layout.trust / "ca.pem", tls.with_suffix(".pem"), tls.with_suffix(".key"))
    client = Client("ingest", "127.0.0.1", hostile.server_port, context)
    for path in ("/v1/a b", "/v1/a\r\nHost: other", "/v1/\x00", "/v1/見"):
        with pytest.raises(RecordError, match="invalid request"):
            client.call("GET", path)
