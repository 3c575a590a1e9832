"""The heartbeats that the threads of a service owe, from their start to their end."""

from __future__ import annotations

import threading
import time

import msgspec
from msgspec import Struct

STALLED_S = 60.0
"""Time for the turn of a thread that usually takes less than a second, on a busy board with a slow disk."""


class Beat(Struct, frozen=True):
    """The heartbeat that a thread owes: within_s seconds after its start and after each pause, next at due_s (monotonic).

    vital   if it is late, the watchdog ends the service
    """

    name: str
    within_s: float
    vital: bool
    due_s: float


class Heartbeats:
    """Of all threads of a service, by the thread's name. May be used from any thread."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}

    def owe(self, thread: str, name: str, within_s: float, *, vital: bool) -> None:
        """From now on, before the thread starts. name: of its part of the service, for the code of `stalled`."""
        self._beats[thread] = Beat(name, within_s, vital, time.monotonic() + within_s)

    def beat(self, pause_s: float) -> None:
        """Of the calling thread, which now pauses for so long."""
        thread = threading.current_thread().name
        beat = self._beats[thread]
        self._beats[thread] = msgspec.structs.replace(beat, due_s=time.monotonic() + pause_s + beat.within_s)

    def end(self, thread: str) -> None:
        """The thread has done its work."""
        del self._beats[thread]

    def late(self, *, vital: bool = False) -> list[str]:
        """Names of those whose heartbeat is late; of the vital ones only, if `vital`."""
        now = time.monotonic()
        return sorted(beat.name for beat in list(self._beats.values()) if now > beat.due_s and (beat.vital or not vital))
