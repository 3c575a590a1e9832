"""Writes that must not crash the process on a full or failing disk: done now, or in order as soon as the disk accepts them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from privacy.errors import StorageError

Work = Callable[[], object]
_MOST = 256


class Backlog:
    """A bounded queue of writes. May be used from several threads.

    Beyond the limit the oldest is lost and counted. So is work that fails with another error than `StorageError`; that is raised.
    """

    def __init__(self) -> None:
        self._waiting: deque[Work] = deque(maxlen=_MOST)
        self._lock = Lock()
        self.lost = 0
        self.trouble: StorageError | None = None
        """Why the disk refused the first write that waits; None while nothing waits."""

    def add(self, work: Work) -> None:
        """Do it now, or queue it behind the writes that wait."""
        with self._lock:
            self.lost += len(self._waiting) == _MOST
            self._waiting.append(work)
        self.retry()

    def retry(self) -> None:
        """Do all writes that wait, in order, until the disk refuses."""
        with self._lock:
            while self._waiting:
                try:
                    self._waiting[0]()
                except StorageError as problem:
                    self.trouble = problem
                    return
                except BaseException:
                    # Not a disk error but a fault of this work: it would fail for ever and block the writes behind it.
                    self._waiting.popleft()
                    self.lost += 1
                    raise
                self._waiting.popleft()
            self.trouble = None
