"""Health groups: flat numbers; null with the reason beside it for a value that cannot be read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from agent.messages import Health, HealthGroup
from agent.outbox.outbox import LOSSES, Outbox
from agent.outbox.remote import Found
from agent.runtime.status import Status, routes
from drivers import board
from privacy.errors import LyktaError

_DAY_S = 86_400.0
_LEAST_WATCHED_S = 600.0

Reader = Callable[[], float | int]
Numbers = dict[str, float | int | None]


def group(name: HealthGroup, readers: dict[str, Reader], numbers: Numbers | None = None) -> Health:
    """One group from its readers and from known numbers; a reader that fails loses only its own value."""
    values: Numbers = {**(numbers or {})}
    unreadable: dict[str, str] = {}
    for key, read in readers.items():
        try:
            values[key] = read()
        except (OSError, LyktaError, ValueError, LookupError) as problem:
            values[key], unreadable[key] = None, str(problem)
    return Health(name, values, unreadable)


class Writes:
    """How much is written to a device, which determines the wear of an SD card.

    written  MB since the machine started
    mono_s   seconds that only count up
    """

    def __init__(self, written: Reader, mono_s: Callable[[], float] = time.monotonic) -> None:
        self.mb, self._mono_s = written, mono_s
        self._seen: deque[tuple[float, float]] = deque()

    def mb_day(self) -> float:
        """MB a day, from the writes observed in the last day; `ValueError` in the first ten minutes."""
        now = (self._mono_s(), self.mb())
        self._seen.append(now)
        while now[0] - self._seen[0][0] > _DAY_S:
            self._seen.popleft()
        watched = now[0] - self._seen[0][0]
        if watched < _LEAST_WATCHED_S:
            raise ValueError("watched for less than ten minutes")
        return round((now[1] - self._seen[0][1]) / watched * _DAY_S, 1)


class PowerEdges:
    """How often the supply voltage was low since this service started; counted at each reading."""

    def __init__(self, bits: Callable[[], int] = board.throttled) -> None:
        self._bits, self._edges = bits, board.PowerEventCounter()

    def readers(self) -> dict[str, Reader]:
        names = {"undervoltage_times": board.UNDERVOLTAGE, "throttled_times": board.THROTTLING}
        return {name: (lambda bit=bit: self._count(bit)) for name, bit in names.items()}  # type: ignore[misc]

    def _count(self, bit: int) -> int:
        self._edges.see(self._bits())
        return self._edges.counts[bit]


def of_machine(storage: Path, writes: Writes, edges: PowerEdges) -> list[Health]:
    disk = {
        name: partial(read, storage)
        for name, read in {
            "free_mb": board.free_mb,
            "used_share": board.used_share,
            "life_used": board.life_used,
            "end_of_life": board.end_of_life,
            "lifetime_written_mb": board.lifetime_written_mb,
        }.items()
    }
    return [
        group("system", {"load_1m": board.load, "memory_available_mb": board.memory_mb, "temperature_c": board.temperature}),
        group("power", {"throttled_now": board.throttled, "undervoltage": board.undervoltage, **edges.readers()}),
        group("storage", {**disk, "written_mb": writes.mb, "written_mb_day": writes.mb_day}),
    ]


def of_outbox(outbox: Outbox, io: Callable[[], Found] | None = None, numbers: Numbers | None = None) -> Health:
    """Waiting messages, dropped ones by cause, and the file's size; the same of io's outbox if `io` is given.

    numbers: losses reported by the services
    """
    found = cache(outbox.drops)
    drops: dict[str, Reader] = {cause: (lambda cause=cause: found()[cause]) for cause in LOSSES}  # type: ignore[misc]
    file: dict[str, Reader] = {"file_mb": lambda: round(outbox.size() / 1e6, 2)}
    own: dict[str, Reader] = {"pending": outbox.pending, "dropped": lambda: sum(found().values()), **drops, **file}
    return group("buffer", own | (_of_io(io) if io else {}), numbers)


def _of_io(look: Callable[[], Found]) -> dict[str, Reader]:
    """One request for all three numbers."""
    found = cache(look)
    return {
        "io_pending": lambda: found().pending,
        "io_dropped": lambda: found().dropped,
        "io_file_mb": lambda: round(found().file_bytes / 1e6, 2),
    }


def numbers_of(statuses: Iterable[Status]) -> dict[HealthGroup, Numbers]:
    """The numbers that the services' status types publish, by group; each key of a dictionary is a number of its own."""
    found: dict[HealthGroup, Numbers] = {}
    for status in statuses:
        for name, route in routes(type(status)).items():
            for one in route.groups:
                found.setdefault(one, {}).update(_flat(route.name or name, getattr(status, name)))
    return found


def _flat(name: str, value: Any) -> Numbers:
    if isinstance(value, dict):
        return {f"{name}_{key}": number for key, number in value.items()}
    return {name: int(value) if isinstance(value, bool) else value}


def of_camera(numbers: Mapping[HealthGroup, Numbers]) -> list[Health]:
    """The groups of the camera service; if it does not answer, a null with the reason."""
    why = "the camera service does not answer"
    if "camera" not in numbers:
        return [Health("camera", {"frames": None}, {"frames": why}), Health("privacy", {"masked": None}, {"masked": why})]
    return [Health(name, numbers[name], {}) for name in ("camera", "privacy")]
