"""Connections to the ingest: silent ones, slow ones and too many, with and without a certificate (14.C11)."""

from __future__ import annotations

import resource
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.broker import PATIENCE, until
from tests.support.clips import TOOL, Node, noise
from tests.support.receiving import Centre, receipt_of


@pytest.fixture(scope="module")
def node(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(keys, "city/stop-1", tmp_path_factory.mktemp("node"))


@pytest.fixture
def running(request: pytest.FixtureRequest, keys: Path, tmp_path: Path) -> Iterator[Centre]:
    """With the usual limit of open files, unless the test names another."""
    centre = Centre(keys, tmp_path / "store")
    centre.start(["prlimit", f"--nofile={getattr(request, 'param', '1024:8192')}"])
    yield centre
    assert centre.end() in (0, -signal.SIGTERM)
    assert "Traceback" not in centre.log.read_text()


@pytest.fixture
def many() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def silent(centre: Centre) -> socket.socket:
    return socket.create_connection(("127.0.0.1", centre.port), timeout=PATIENCE * 20)


def known(centre: Centre, node: Node) -> ssl.SSLSocket:
    """A connection with the node's certificate on which nothing was said."""
    context = ssl.create_default_context(cafile=str(centre.keys / "ca.pem"))
    context.load_cert_chain(f"{node.tls}.pem", f"{node.tls}.key")
    return context.wrap_socket(silent(centre), server_hostname="127.0.0.1")


def ended(connection: socket.socket) -> bool:
    """Whether the server has closed or reset a connection on which it says nothing."""
    connection.settimeout(0.01)
    try:
        return connection.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def answer_on(connection: socket.socket) -> str:
    """Protocol and status of what the server says until it ends the connection; "" if nothing could be read."""
    said = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            said += part
    return said[:12].decode()


def takes(centre: Centre, node: Node) -> None:
    folder = node.clip()
    assert receipt_of(centre, centre.upload(node, folder)).id == folder.name


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("running", ["1024:1024", "1024:8192"], indirect=True)
def test_silent_connections_lock_nobody_out(running: Centre, node: Node) -> None:
    """1,100 connections without a certificate, and those that replace the ones that were closed, while a node uploads."""
    takes(running, node)
    with ExitStack() as stack:
        crowd = [stack.enter_context(silent(running)) for _ in range(1100)]
        assert running.process
        takes(running, node)
        assert psutil.Process(running.process.pid).num_fds() < 700
        for _ in range(3):
            crowd += [stack.enter_context(silent(running)) for _ in range(200)]
            takes(running, node)
        until(lambda: all(ended(one) for one in crowd), "all of them are cut off", 60)
    takes(running, node)


def test_half_a_handshake_ends(running: Centre) -> None:
    """TLS bytes that go nowhere: a client hello cut in two, rubbish, and plain HTTP."""
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\xff" * 500, b"GET / HTTP/1.1\r\n\r\n", b"\x16"):
        with silent(running) as one:
            one.sendall(data)
            until(lambda one=one: ended(one), "it is cut off", 60)  # type: ignore[misc]


def test_openssl_without_certificate_hears_no_answer(running: Centre, node: Node) -> None:
    """With the node's it does: the question itself is one that is answered."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{running.port}", "-CAfile", running.keys / "ca.pem", "-quiet"]
    own = ["-cert", f"{node.tls}.pem", "-key", f"{node.tls}.key"]
    asked = "GET /v1/orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    nobody, known = (
        subprocess.run([*words, *more], input=asked, capture_output=True, text=True, timeout=PATIENCE * 60, check=False).stdout
        for more in ([], own)
    )
    assert known.startswith("HTTP/1.1 200")
    assert "HTTP/1.1" not in nobody


def test_a_node_has_only_so_many_connections(running: Centre, node: Node, tmp_path: Path) -> None:
    """With its good certificate it opens 100, and a neighbour is served all the while; the newest of its own may stay."""
    neighbour = Node(running.keys, "city/stop-2", tmp_path / "neighbour")
    with ExitStack() as stack:
        crowd = [stack.enter_context(known(running, node)) for _ in range(100)]
        takes(running, neighbour)
        until(lambda: sum(not ended(one) for one in crowd) <= 8, "all but a few are cut off", 10)
        takes(running, neighbour)


SLOW = [b"", b"GET /v1/orders HT", b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n", b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n\r\nGET /"]


@pytest.mark.parametrize("said", SLOW, ids=["nothing", "a word", "half a header", "half a second request"])
def test_a_header_that_does_not_end_is_cut_off(running: Centre, node: Node, said: bytes) -> None:
    """One byte a second more of it, too."""
    with known(running, node) as one:
        one.sendall(said)

        def drip() -> bool:
            with suppress(OSError):
                one.sendall(b"x" if said else b"")
            time.sleep(0.3)
            return ended(one)

        until(drip, "it is cut off", 60)
    takes(running, node)


def test_a_body_that_stops_is_cut_off_and_a_slow_one_is_not(running: Centre, node: Node, tmp_path: Path) -> None:
    """What came of it is gone; a node on a slow link is served whole."""
    folder = node.clip(noise(200_000))
    part = running.announce(node, folder).body["parts"][0]
    with known(running, node) as one:
        one.sendall(f"PUT {part['url']} HTTP/1.1\r\nHost: x\r\nContent-Length: {part['size']}\r\n\r\n".encode() + b"x" * 1000)
        words = running.curl(node.tls, "--limit-rate", "5k", "-T", folder / "clip.age", "-m", str(PATIENCE * 120), path=part["url"])
        slow = subprocess.run([*words, "-H", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="], capture_output=True, text=True, check=False)
        assert slow.stdout.endswith("\n422"), "it was read to the end, and its checksum is wrong"
        until(lambda: ended(one), "the silent one is cut off", 60)
    until(lambda: not list(running.store.glob("_incoming/*/.clip*")), "what came is gone")
    takes(running, node)


def test_a_header_is_no_larger_than_ours_could_be(running: Centre, node: Node) -> None:
    answer = running.call(node.tls, "GET", "/v1/orders", "-H", f"X: {'y' * 10_000}")
    assert answer.status == 200
    with known(running, node) as one:
        with suppress(OSError):
            one.sendall(b"GET /v1/orders HTTP/1.1\r\nX: " + b"y" * 1_000_000 + b"\r\nHost: x\r\n\r\n")
        assert answer_on(one) in ("", "HTTP/1.1 400"), "it is cut off, and not obeyed"
    takes(running, node)


def test_a_taken_port_is_said(running: Centre, keys: Path, tmp_path: Path) -> None:
    words = [TOOL, "ingest", "--keys", keys, "--store", tmp_path / "other", "--port", str(running.port)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE * 60, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2].startswith("error: ingest: ")
    assert done.stderr.splitlines()[-1].startswith("hint: ")
