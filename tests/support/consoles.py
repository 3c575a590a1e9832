"""A running `lykta-central console`, asked over HTTP as a browser does, and a fleet to show."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from central.fleet.collect.intake import Refusal, take
from central.fleet.collect.store.summary import seen
from central.fleet.collect.store.writing import write
from central.fleet.console.snapshot import now_ms
from tests.support.broker import PATIENCE, free_port, listens, until
from tests.support.clips import TOOL

OFFICER = {"X-User": "eva-ek"}
"""What a proxy says; the console of these tests takes it from 127.0.0.1."""


class Answer(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Console:
    """more: further options. tls: the client's side, for a console with TLS."""

    def __init__(self, folder: Path, url: str, *more: str | Path, tls: ssl.SSLContext | None = None) -> None:
        self.url, self.more, self.log, self.port = url, more, folder / "console.log", free_port()
        self.tls = tls
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = [TOOL, "console", "--database", self.url, "--listen", f"127.0.0.1:{self.port}", *self.more]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        until(lambda: listens(self.port) or self._ended(), "the console listens")
        assert not self._ended(), self.log.read_text()

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def end(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE * 30)

    def request(self, path: str, data: dict[str, str] | None = None, /, **headers: str) -> Answer:
        """GET, or POST with a form. Names of headers have underscores for hyphens."""
        body = urllib.parse.urlencode(data).encode() if data is not None else None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, body, named)
        tls = [urllib.request.HTTPSHandler(context=self.tls)] if self.tls else []
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}), *tls)
        try:
            with opener.open(request, timeout=PATIENCE * 10) as answer:
                return Answer(answer.status, answer.read().decode(), dict(answer.headers))
        except urllib.error.HTTPError as problem:
            return Answer(problem.code, problem.read().decode(), dict(problem.headers))

    def page(self, path: str, language: str = "en", /, **headers: str) -> str:
        answer = self.request(path, Accept_Language=language, **headers)
        assert answer.status == 200, answer
        return answer.text

    def answer(self, node: str, press: str, /, **headers: str) -> Answer:
        """What the button sends."""
        return self.request("/answer", {"node": node, "press": press}, **{"Origin": self.address, **headers})

    @contextmanager
    def stream(self, view: str) -> Iterator[Events]:
        """The stream of changes of a page."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE * 10) as line:
            path = f"/live?{urllib.parse.urlencode({'view': view, 'lang': 'en'})}"
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
            yield Events(line)


class Events:
    """Server-sent events as they come, with the names of the parts that changed."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._text = line, ""

    def until_has(self, text: str) -> None:
        """Read until a text has come; `TimeoutError` if nothing comes any more."""
        while text not in self._text:
            block = self._line.recv(65536)
            assert block, f"the stream ended before {text!r}"
            self._text += block.decode()
        self._text = self._text.partition(text)[2]


@contextmanager
def serving(console: Console) -> Iterator[Console]:
    """Started, and ended without a traceback."""
    console.start()
    try:
        yield console
    finally:
        code = console.end()
    assert code in (0, -signal.SIGTERM), console.log.read_text()
    assert "Traceback" not in console.log.read_text()


def store(engine: Engine, said: Sequence[tuple[str, bytes]], at: int = 0) -> None:
    """Store messages as the collector does, which is seen to run. at: ms, by default now."""
    now = at or now_ms()
    taken = [take(where, payload, 1, now, retained=False) for where, payload in said]
    assert not [one for one in taken if isinstance(one, Refusal)], taken
    for first in range(0, len(taken), 500):
        with engine.begin() as connection:
            write(connection, "one", [one for one in taken[first : first + 500] if not isinstance(one, Refusal)])
    with engine.begin() as connection:
        seen(connection, "one", now_ms())
