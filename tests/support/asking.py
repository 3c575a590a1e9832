"""Asking a service over its socket as a technician's script does, in plain JSON; and a neighbour that answers in plain JSON."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.runtime import requests
from agent.runtime.ask_status import AskStatus
from agent.runtime.control import EXCHANGE_S, Replies, Reply, Request, verb_of
from privacy.errors import LyktaError, UnreachableError
from tests.support.broker import PATIENCE

KINDS: dict[str, type[Request[Any]]] = {
    verb_of(kind): kind
    for kind in (
        AskStatus,
        *(one for one in vars(requests).values() if isinstance(one, type) and issubclass(one, Request) and one is not Request),
    )
    if kind is not requests.AskVisit and kind is not requests.SurveyOutboxes
}
"""What a neighbour of the uplink or of the visit's page may be asked, by verb."""


def ask(path: Path, request: Mapping[str, Any], timeout: float = PATIENCE * EXCHANGE_S) -> dict[str, Any]:
    """The answer; a refusal as `LyktaError`, and nobody there as `UnreachableError`."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(timeout)
            _connect(line, path, time.monotonic() + timeout)
            line.sendall(json.dumps(request).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n") and (part := line.recv(1 << 16)):
                data += part
    except OSError as problem:
        raise UnreachableError(f"{path.parent.name}: {problem}", "does it run?") from problem
    if not data:
        raise UnreachableError(f"{path.parent.name}: no answer", "does it run?")
    answer: dict[str, Any] = json.loads(data)
    if "error" in answer:
        raise LyktaError(answer["error"], answer.get("hint", ""))
    return answer


def _connect(line: socket.socket, path: Path, end_s: float) -> None:
    """Where others stand in line, Linux waits for none of them (EAGAIN)."""
    while True:
        try:
            return line.connect(str(path))
        except BlockingIOError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.01)


def answering(replies: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> Replies:
    """For `control.listen`: what a neighbour answers to each verb."""

    def reply(verb: str) -> Reply:
        return Reply(KINDS[verb], lambda request: replies[verb](msgspec.to_builtins(request)))

    return {verb: reply(verb) for verb in replies}
