"""What the uplink reads of the machine, the clock and the outboxes, typed like the services' statuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated

from msgspec import Struct

from agent.outbox.outbox import LOSSES, Outbox
from agent.outbox.remote import Found
from agent.runtime.clocks import TIME_ERROR_MS
from agent.runtime.routes import published
from agent.uplink.health.groups import Reader
from agent.uplink.health.trends import Boots, ClockSteps, Growth, PowerEdges, Writes
from drivers import board
from drivers.clock import SystemClock

Number = float | int | None


class Machine(Struct, frozen=True):
    """Board, power and disk."""

    load_1m: Annotated[Number, published("system", "load average of a minute")]
    memory_available_mb: Annotated[Number, published("system", "available memory", "MB", factor=2)]
    temperature_c: Annotated[Number, published("system", "temperature of the board", "°C", change=5)]
    boot_reason: Annotated[str, published("system", "watchdog, too_hot, power_fault, or other: the kernel knows no more", change=1)]
    watchdog_resets: Annotated[Number, published("system", "boots that the hardware watchdog caused, as far as is kept", change=1)]
    throttled_now: Annotated[Number, published("power", "the firmware's throttle bits", change=1)]
    undervoltage: Annotated[Number, published("power", "1 while the supply voltage is too low", change=1)]
    undervoltage_times: Annotated[Number, published("power", "how often it began since the start", change=1)]
    throttled_times: Annotated[Number, published("power", "how often throttling began since the start", change=1)]
    free_mb: Annotated[Number, published("storage", "free space", "MB", factor=1.5)]
    used_share: Annotated[Number, published("storage", "used share of the file system", change=0.05)]
    read_only: Annotated[Number, published("storage", "1 if the file system is mounted read-only", change=1)]
    days_to_full: Annotated[Number, published("storage", "days until the disk is full, as in the last day", "d", factor=2)]
    written_mb: Annotated[Number, published("storage", "written since boot", "MB")]
    written_mb_day: Annotated[Number, published("storage", "written a day, as in the last day", "MB/d", factor=2)]
    life_used: Annotated[Number, published("storage", "used share of an eMMC's lifetime", change=0.1)]
    end_of_life: Annotated[Number, published("storage", "an eMMC's spare blocks: 1 normal, 2 80 % used, 3 urgent", change=1)]
    lifetime_written_mb: Annotated[Number, published("storage", "written since the file system was made", "MB")]


class ClockReadings(Struct, frozen=True):
    """The node's time."""

    state: Annotated[str, published("clock", "synced, holdover or unknown", change=1)]
    trusted: Annotated[Number, published("clock", "1 if the time is trusted", change=1)]
    sync_age_s: Annotated[Number, published("clock", "time since the last synchronisation", "s")]
    error_ms: Annotated[Number, published("clock", "bound of the error of the time, as in a manifest", "ms", change=1)]
    steps: Annotated[Number, published("clock", "steps of the system time over 0.5 s seen since the start", change=1)]


class Outboxes(Struct, frozen=True):
    """What waits and what was lost; io's by its socket."""

    pending: Annotated[Number, published("buffer", "messages that wait", factor=4)]
    dropped: Annotated[Number, published("buffer", "messages that will not come, since the database was made", change=10)]
    bound: Annotated[Number, published("buffer", "of these for lack of room", change=1)]
    thinned: Annotated[Number, published("buffer", "of these health that was thinned")]
    expired: Annotated[Number, published("buffer", "of these expired")]
    corrupt: Annotated[Number, published("buffer", "of these damaged", change=1)]
    set_aside: Annotated[Number, published("buffer", "of these set aside", change=1)]
    file_mb: Annotated[Number, published("buffer", "size of the file", "MB", factor=2)]
    io_pending: Annotated[Number, published("buffer", "io's messages that wait", factor=4)]
    io_dropped: Annotated[Number, published("buffer", "io's messages that will not come", change=1)]
    io_file_mb: Annotated[Number, published("buffer", "size of io's file", "MB", factor=2)]


KINDS: tuple[type[Struct], ...] = (Machine, ClockReadings, Outboxes)


class Trends(Struct, frozen=True):
    """What is watched over time, for the life of the service."""

    writes: Writes
    growth: Growth
    edges: PowerEdges
    boots: Boots

    @classmethod
    def of(cls, storage: Path, boots: Boots) -> Trends:
        """storage: a folder on the disk that is watched."""
        return cls(Writes(lambda: board.written_mb(storage)), Growth(lambda: board.free_mb(storage)), PowerEdges(), boots)


def of_machine(storage: Path, trends: Trends) -> Mapping[str, Reader]:
    """Readers of `Machine`."""
    return {
        "load_1m": board.load,
        "memory_available_mb": board.memory_mb,
        "temperature_c": board.temperature,
        "boot_reason": board.boot_reason,
        "watchdog_resets": trends.boots.watchdog_resets,
        "throttled_now": board.throttled,
        "undervoltage": board.undervoltage,
        **trends.edges.readers(),
        "free_mb": partial(board.free_mb, storage),
        "used_share": partial(board.used_share, storage),
        "read_only": partial(board.read_only, storage),
        "life_used": partial(board.life_used, storage),
        "end_of_life": partial(board.end_of_life, storage),
        "lifetime_written_mb": partial(board.lifetime_written_mb, storage),
        "days_to_full": trends.growth.days_to_full,
        "written_mb": trends.writes.mb,
        "written_mb_day": trends.writes.mb_day,
    }


def of_clock(clock: SystemClock, steps: ClockSteps) -> Mapping[str, Reader]:
    """Readers of `ClockReadings`."""
    return {
        "state": clock.state,
        "trusted": lambda: int(clock.trusted()),
        "sync_age_s": lambda: _sync_age_s(clock),
        "error_ms": lambda: TIME_ERROR_MS[clock.state()],
        "steps": lambda: steps.count,
    }


def _sync_age_s(clock: SystemClock) -> int:
    age = clock.sync_age_s()
    if age is None:
        raise ValueError("no synchronisation in this boot")
    return round(age)


def of_outboxes(outbox: Outbox, look: Callable[[], Found]) -> Mapping[str, Reader]:
    """Readers of `Outboxes`: one look at each for all its numbers."""
    found, io = cache(outbox.drops), cache(look)
    drops: dict[str, Reader] = {cause: (lambda cause=cause: found()[cause]) for cause in LOSSES}  # type: ignore[misc]
    return {
        "pending": outbox.pending,
        "dropped": lambda: sum(found().values()),
        **drops,
        "file_mb": lambda: round(outbox.size() / 1e6, 2),
        "io_pending": lambda: io().pending,
        "io_dropped": lambda: io().dropped,
        "io_file_mb": lambda: round(io().file_bytes / 1e6, 2),
    }
