"""The one place that makes threads: none can end by a failure that its owner does not learn of (14.A4).

`make check` refuses any other way. A service starts its threads by `Runtime.spawn`, which also wants their heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

__all__ = ["Thread", "start"]


def start(name: str, work: Callable[[], None], failed: Callable[[BaseException], None]) -> Thread:
    """Start a thread; it does not keep the process alive.

    failed   called in this thread with the exception that ended it
    """

    def supervised() -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001 - whatever it is, the owner must learn of it
            failed(problem)

    thread = Thread(target=supervised, name=name, daemon=True)
    thread.start()
    return thread
