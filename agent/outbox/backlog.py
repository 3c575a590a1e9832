"""Writes that a full or failing disk must not turn into a crash: done now, or in order as soon as the disk takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from privacy.errors import StorageError

Work = Callable[[], object]
_MOST = 256


class Backlog:
    """A bounded line of writes. May be used from several threads.

    Beyond the bound the oldest is lost and counted. So is work that fails with anything else than `StorageError`, which is raised.
    """

    def __init__(self) -> None:
        self._waiting: deque[Work] = deque(maxlen=_MOST)
        self._lock = Lock()
        self.lost = 0
        self.trouble: StorageError | None = None
        """Why the disk refused the first write that waits; None while nothing waits."""

    def add(self, work: Work) -> None:
        """Do it now, or behind what waits already."""
        with self._lock:
            self.lost += len(self._waiting) == _MOST
            self._waiting.append(work)
        self.retry()

    def retry(self) -> None:
        """Do everything that waits, in order, until the disk refuses."""
        with self._lock:
            while self._waiting:
                try:
                    self._waiting[0]()
                except StorageError as problem:
                    self.trouble = problem
                    return
                except BaseException:
                    # No disk's trouble but a fault of this work: it would fail for ever, and what waits behind it with it.
                    self._waiting.popleft()
                    self.lost += 1
                    raise
                self._waiting.popleft()
            self.trouble = None
