"""Asking a service on this machine: one JSON line each way over a Unix socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from privacy.errors import AccessError, LyktaError, UnreachableError

Request = dict[str, Any]
Reply = Callable[[Request], Request]
_LONGEST = 640 * 1024
"""The longest message: a visit's picture of nothing but noise, 640 pixels each way, in base64."""


def ask(path: Path, request: Request, timeout: float = 2.0) -> Request:
    """The service's answer; its error as `LyktaError`, nobody there as `UnreachableError`."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(timeout)
            line.connect(str(path))
            line.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_read_line(line))
    except PermissionError as problem:
        raise AccessError(f"{path}: {problem.strerror}", "join the group lykta-cli, or use sudo") from problem
    except (OSError, ValueError) as problem:
        raise UnreachableError(
            f"{path.parent.name}: does not answer: {problem}", f"systemctl status lykta-{path.parent.name}"
        ) from problem
    if "error" in answer:
        raise LyktaError(str(answer["error"]), str(answer.get("hint", "")))
    return dict(answer)


def listen(path: Path, replies: dict[str, Reply], stop: Event) -> None:
    """Answer requests on a socket until stopped. One at a time: every answer is quick.

    The path may be a link into a folder that others may enter than those of this one.
    """
    path = path.resolve()
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        path.chmod(0o660)
        server.listen(8)
        server.settimeout(0.2)
        while not stop.is_set():
            with suppress(TimeoutError):
                line, _ = server.accept()
                with line:
                    _serve(line, replies)
    path.unlink(missing_ok=True)


def _serve(line: socket.socket, replies: dict[str, Reply]) -> None:
    line.settimeout(2.0)
    # A caller that goes away before its answer is the caller's business, not a fault of the service.
    with suppress(OSError):
        line.sendall(json.dumps(_answer(_read_line(line), replies), default=str).encode() + b"\n")


def _answer(text: bytes, replies: dict[str, Reply]) -> Request:
    try:
        request = json.loads(text)
        reply = replies.get(request["verb"])
    except (ValueError, KeyError, TypeError):
        return {"error": "request: not a JSON object with a verb", "hint": 'send {"verb":"status"}'}
    if reply is None:
        return {"error": f"request: unknown verb (got {request['verb']!r})", "hint": f"known: {', '.join(sorted(replies))}"}
    try:
        return reply(request)
    except LyktaError as problem:
        return {"error": str(problem), "hint": problem.hint}


def _read_line(line: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        part = line.recv(65536)
        if not part:
            break
        data += part
        if len(data) > _LONGEST:
            raise ValueError("message too long")
    return data
