"""One small datagram from a service to its neighbour, each way on a socket of its own: what, which, when. Nothing is answered.

io to camera: help (a press), visit (the service button was held). Camera to io: waiting, empty (is somebody at the stop, never how
many), dark, bright.
A neighbour that is off, full or gone loses the word; neither ever waits for the other.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Event

from msgspec import Struct

from privacy.errors import LyktaError

_LONGEST = 1024


class Word(Struct, frozen=True):
    """t_ms: milliseconds since boot."""

    kind: str
    id: str
    t_ms: int


class Mouth:
    """Says words to one neighbour. May be used from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.dropped = 0

    def say(self, kind: str, name: str, t_ms: int) -> None:
        """Waits for nothing; a word that does not go is counted."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.setblocking(False)
            try:
                mouth.sendto(json.dumps({"kind": kind, "id": name, "t_ms": t_ms}).encode(), self._path)
            except OSError:
                self.dropped += 1


def hear(path: Path, stop: Event, heard: Callable[[Word], None], odd: Callable[[str], None]) -> None:
    """Listen until stopped. odd: told of each datagram that is not a word."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        path.chmod(0o660)
        ear.settimeout(0.5)
        while not stop.is_set():
            try:
                word = _word(ear.recv(_LONGEST))
            except TimeoutError:
                continue  # nobody spoke: look whether to stop
            except LyktaError as problem:
                odd(str(problem))
            else:
                heard(word)


def _word(data: bytes) -> Word:
    try:
        found = json.loads(data)
        return Word(str(found["kind"]), str(found["id"]), int(found["t_ms"]))
    except (ValueError, KeyError, TypeError) as problem:
        raise LyktaError(f"datagram: not understood: {problem}") from problem
