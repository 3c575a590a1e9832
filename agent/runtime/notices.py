"""Notices: a small datagram between camera and io, each way on a socket of its own: kind, name, time. None is answered.

io to camera: help (a press), visit (the service button was held). Camera to io: waiting, empty (is somebody at the stop, never how
many), dark, bright.
A service that is off or whose queue is full does not receive it; neither ever waits for the other.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from agent.runtime.foreign_input import handling
from agent.runtime.rate_limit import Limit
from privacy.errors import LyktaError
from privacy.foreign import END, decode

_LONGEST = 1024
_MOST_MALFORMED = 10


class Notice(Struct, frozen=True):
    """t_ms: milliseconds since boot."""

    kind: Literal["help", "visit", "waiting", "empty", "dark", "bright"]
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{0,64}" + END)]
    t_ms: Annotated[int, Meta(ge=0)]


class Sender:
    """Sends notices to one service. May be used from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.dropped = 0

    def send(self, kind: str, name: str, t_ms: int) -> None:
        """Never waits; a notice that is not delivered is counted."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            try:
                line.sendto(msgspec.json.encode({"kind": kind, "id": name, "t_ms": t_ms}), self._path)
            except OSError:
                self.dropped += 1


def receive(path: Path, going_on: Callable[[], bool], take: Callable[[Notice], None], on_malformed: Callable[[str], None]) -> None:
    """Receive while `going_on`, which is asked at least every second.

    on_malformed   called for invalid datagrams and failed handling, at a limited rate per minute
    """
    limit = Limit(_MOST_MALFORMED, 60.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(path))
        path.chmod(0o660)
        line.settimeout(0.5)
        while going_on():
            try:
                data = line.recv(_LONGEST + 1)
            except TimeoutError:
                continue  # timeout without a notice: check whether to stop
            try:
                with handling("datagram"):
                    take(decode(data, Notice, "datagram: not understood", most=_LONGEST))
            except LyktaError as problem:
                unsaid = limit.take(time.monotonic())
                if unsaid is not None:
                    on_malformed(f"{problem}{f'; {unsaid} more before' if unsaid else ''}")
