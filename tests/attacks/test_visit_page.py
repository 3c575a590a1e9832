"""Connections to the page of a visit: silent ones, slow ones, and such as speak no HTTP (14.A2, 14.C13)."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread

import pytest

from agent.runtime.control import listen
from provisioning.layout import Layout
from tests.support.asking import answering
from tests.support.broker import PATIENCE, listens, until
from tests.support.clip_node import ClipNode
from tests.support.nodes import BIN

FILES = 256
"""That the page's process may have open; systemd gives it 1,024."""
VISIT = {"until": "2199-01-01T00:00:00Z", "state": "setup", "reason": "visit"}
HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
ODD = [
    b"\0" * 4096,
    b"GET /" + HEAD + b"X: " + b"y" * 200_000,
    b"POST /admit" + HEAD + b"Content-Length: -1\r\n\r\n",
    b"POST /end" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
    b"GET /\xff\xfe" + HEAD + b"\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: [\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /" + HEAD + b"Cookie: " + b"phone=\xff;" * 500 + b"\r\n\r\n",
    b"GET /picture" + HEAD + b"Origin: \xe9\r\n\r\n",
]


@pytest.fixture
def page(clip_node: ClipNode) -> Iterator[Layout]:
    """The page of a visit that does not end, with a camera that only says so."""
    layout, over = clip_node.layout, Event()
    camera = layout.socket("camera", "setup")
    camera.parent.mkdir(parents=True)
    thread = Thread(target=listen, args=(camera, answering({"status": lambda _request: VISIT}), lambda: not over.is_set()))
    thread.start()
    until(lambda: listens(camera), "the camera answers")
    with (layout.root / "page.log").open("wb") as log:
        words = ["prlimit", f"--nofile={FILES}:{FILES}", BIN / "lykta", "--root", layout.root, "setup"]
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: listens(layout.page), "the page is there")
        yield layout
        assert process.poll() is None
        assert "Traceback" not in (layout.root / "page.log").read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        over.set()
        thread.join()


def silent(page: Layout) -> socket.socket:
    """A connection on which nothing is said."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(PATIENCE * 20)
    until(lambda: line.connect_ex(str(page.page)) == 0, "the page lets one more in", 10)
    return line


def shows(page: Layout) -> bool:
    """Whether a phone gets the page."""
    done = subprocess.run(
        ["curl", "-s", "-m", str(PATIENCE * 20), "--unix-socket", page.page, "http://localhost/"], capture_output=True, check=False
    )
    return re.search(b"<h1>Visit at city/stop-1</h1>", done.stdout) is not None


def test_silent_connections_lock_no_phone_out(page: Layout) -> None:
    """Each took one of the process's files, for the rest of the hour."""
    with ExitStack() as stack:
        for _ in range(3 * FILES):
            stack.enter_context(silent(page))
        assert shows(page)


def test_half_a_request_locks_no_phone_out(page: Layout) -> None:
    with ExitStack() as stack:
        for _ in range(3 * FILES):
            line = stack.enter_context(silent(page))
            line.send(b"POST /admit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        assert shows(page)


@pytest.mark.parametrize("said", ODD, ids=range(len(ODD)))
def test_what_is_no_request_ends_no_visit(page: Layout, said: bytes) -> None:
    # It may have hung up before all of it was said.
    with silent(page) as line, suppress(BrokenPipeError, ConnectionResetError):
        line.sendall(said)
        line.shutdown(socket.SHUT_WR)
        assert len(line.recv(65536)) < 65536
    assert shows(page)
