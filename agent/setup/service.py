"""`lykta setup`: serves the page of a visit on a Unix socket, and ends with the visit. No network: a phone reaches it by SSH."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from agent.runtime.config import load
from agent.runtime.control import ask
from agent.runtime.requests import AskVisit
from agent.setup.page import SetupPage
from drivers import stderr
from drivers.threads import start
from privacy.errors import LyktaError, UnreachableError
from privacy.foreign import printable
from privacy.logs import log_of
from provisioning.layout import Layout

_LOOK_S = 1.0
_GONE_S = 15.0
"""Time without an answer of the camera after which the visit counts as over: a restarted camera has no visit."""
_MOST = 32
"""Most connections; a browser uses six."""


class _Bounded(H11Protocol):
    """One connection. Beyond the limit the one that is idle for longest is closed, so that idle clients cannot block a phone."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.heard = time.monotonic()
        there = [one for one in self.connections if isinstance(one, _Bounded) and not one.transport.is_closing()]
        if len(there) > _MOST:
            min(there, key=lambda one: one.heard).transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        super().data_received(data)


def serve(layout: Layout) -> int:
    """Serve the page; 0 when the visit is over, `UnreachableError` if the camera does not answer at the start."""
    camera = layout.socket("camera", "setup")

    def going_on() -> bool:
        return ask(camera, AskVisit()).until is not None

    if not going_on():
        raise UnreachableError("setup: there is no visit", "hold the service button for five seconds on a commissioning day")
    node = load(layout.config).node
    page = SetupPage(f"{node.site}/{node.id}", partial(ask, camera))
    log = log_of("uvicorn")
    settings: dict[str, Any] = {"lifespan": "off", "ws": "none", "access_log": False, "server_header": False}
    # Backlog of connections that are accepted before those beyond the limit are closed.
    config = uvicorn.Config(page.app(), http=_Bounded, backlog=_MOST, log_config=log, **settings)
    server, stop = uvicorn.Server(config), Event()
    failures: list[BaseException] = []

    def failed(problem: BaseException) -> None:
        failures.append(problem)
        server.should_exit = True

    watch = start("setup-watch", lambda: _until_over(going_on, stop, server), failed)
    try:
        with _listening(layout.page) as door:
            server.run(sockets=[door])
    finally:
        stop.set()
        watch.join()
        layout.page.unlink(missing_ok=True)
    # A page without this thread would outlast the visit.
    for failure in failures:
        raise failure
    return 0


def _listening(path: Path) -> socket.socket:
    """A socket with access for its folder's group only; uvicorn's own would be open to all users."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(str(path))
    path.chmod(0o660)
    door.listen()
    return door


def _until_over(going_on: Callable[[], bool], stop: Event, server: uvicorn.Server) -> None:
    heard = time.monotonic()
    while not stop.wait(_LOOK_S):
        try:
            going = going_on()
            heard = time.monotonic()
        except LyktaError as problem:
            going = time.monotonic() - heard < _GONE_S
            stderr.line(f"setup: {printable(problem)}")
        if not going:
            server.should_exit = True
            return
