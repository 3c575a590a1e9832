"""What stands between node and ingest answers instead of it: each answer has its hint (14.E20)."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from threading import Thread

import pytest

from drivers.https import Client, mutual
from privacy.errors import LyktaError
from tests.support.broker import PATIENCE

PAGE = b"<html>sorry</html>"


@pytest.mark.parametrize(
    ("line", "said"),
    [("502 Bad Gateway", "behind it"), ("302 Found", "login page"), ("403 Forbidden", "certificate"), ("200 OK", "login page")],
)
def test_an_answer_of_something_else_has_a_hint(keys: Path, line: str, said: str) -> None:
    """14.E20: 502, 302, 403 and a page of HTML with 200."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "ingest.pem", keys / "ingest.key")
    head = f"HTTP/1.1 {line}\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=_answer, args=(server, context, head + PAGE))
        thread.start()
        client = Client("ingest", "127.0.0.1", server.getsockname()[1], mutual(keys / "ca.pem", keys / "ops.pem", keys / "ops.key"))
        with pytest.raises(LyktaError) as problem:
            client.call("GET", "/v1/orders")
        client.close()
        thread.join(PATIENCE * 10)
    assert said in problem.value.hint
    assert line.split()[0] in str(problem.value)


def _answer(server: socket.socket, context: ssl.SSLContext, answer: bytes) -> None:
    line, _ = server.accept()
    with context.wrap_socket(line, server_side=True) as safe:
        safe.recv(4096)
        safe.sendall(answer)
