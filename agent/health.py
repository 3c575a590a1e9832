"""Health groups: flat numbers; null with the reason beside it where something cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.messages import Health, HealthGroup
from drivers import board
from privacy.errors import LyktaError

_MASKING = ("frames", "masked", "looks", "look_ms")
_FILMING = ("frames", "clips", "clips_dropped", "clips_refused", "queue_dropped")

Reader = Callable[[], float | int]


def group(name: HealthGroup, readers: dict[str, Reader]) -> Health:
    """One group from its readers; a reader that fails costs its own value only."""
    values: dict[str, float | int | None] = {}
    unreadable: dict[str, str] = {}
    for key, read in readers.items():
        try:
            values[key] = read()
        except (OSError, LyktaError, ValueError, KeyError) as problem:
            values[key], unreadable[key] = None, str(problem)
    return Health(name, values, unreadable)


def of_machine(storage: Path) -> list[Health]:
    return [
        group("system", {"load_1m": board.load, "memory_available_mb": board.memory_mb, "temperature_c": board.temperature}),
        group("power", {"throttled_now": board.throttled}),
        group("storage", {"free_mb": lambda: board.free_mb(storage), "used_share": lambda: board.used_share(storage)}),
    ]


def of_camera(detail: dict[str, Any]) -> list[Health]:
    """What the camera service says of itself, as its groups camera and privacy."""
    if not detail:
        why = "the camera service does not answer"
        return [Health("camera", {"frames": None}, {"frames": why}), Health("privacy", {"masked": None}, {"masked": why})]
    numbers = {key: value for key, value in detail.items() if isinstance(value, int | float)}
    masking = {key: value for key, value in numbers.items() if key in _MASKING or key.startswith("full")}
    filming = {key: value for key, value in numbers.items() if key in _FILMING}
    return [Health("camera", dict(filming), {}), Health("privacy", dict(masking), {})]
