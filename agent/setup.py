"""`lykta setup`: serves the page of a visit on a Unix socket, and ends with the visit. No network: a phone reaches it by SSH."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import uvicorn

from agent.config import load
from agent.control import ask
from privacy.errors import LyktaError, UnreachableError
from provisioning.layout import Layout
from provisioning.setup_page import Ask, SetupPage

_LOOK_S = 1.0
_GONE_S = 15.0
"""A camera that starts again has no visit any more; one that hangs says nothing for so long."""


def serve(layout: Layout) -> int:
    """0 once the visit is over; `UnreachableError` if the camera does not answer at the start."""
    camera = layout.socket("camera", "setup")

    def asked(request: dict[str, Any]) -> dict[str, Any]:
        return ask(camera, request)

    if not asked({"verb": "status"})["until"]:
        raise UnreachableError("setup: there is no visit", "hold the service button for five seconds on a commissioning day")
    node = load(layout.config).node
    page = SetupPage(f"{node.site}/{node.id}", asked)
    config = uvicorn.Config(page.app(), lifespan="off", ws="none", access_log=False, server_header=False, log_level="warning")
    server, stop = uvicorn.Server(config), Event()
    watch = Thread(target=lambda: _until_over(asked, stop, server), name="setup-watch")
    watch.start()
    try:
        with _listening(layout.page) as door:
            server.run(sockets=[door])
    finally:
        stop.set()
        watch.join()
        layout.page.unlink(missing_ok=True)
    return 0


def _listening(path: Path) -> socket.socket:
    """Open to its folder's group and nobody else; uvicorn's own would be open to all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(str(path))
    path.chmod(0o660)
    door.listen()
    return door


def _until_over(asked: Ask, stop: Event, server: uvicorn.Server) -> None:
    heard = time.monotonic()
    while not stop.wait(_LOOK_S):
        try:
            going = bool(asked({"verb": "status"})["until"])
            heard = time.monotonic()
        except LyktaError as problem:
            going = time.monotonic() - heard < _GONE_S
            sys.stderr.write(f"setup: {problem}\n")
        if not going:
            server.should_exit = True
            return
