"""The thread that writes for the camera service, so that the frame path waits for no disk: messages and journal entries as they
come, a sweep of the clips every ten seconds, the view's edges every ten minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full, Queue

from agent.clips.custody import Custody
from agent.outbox.backlog import Work
from agent.runtime.service import Runtime

SWEEP_S = 10.0
_SAVE_S = 600.0
_MOST = 64


class KeeperThread:
    """One per camera service."""

    def __init__(self, runtime: Runtime, custody: Custody) -> None:
        self._runtime, self._custody = runtime, custody
        self._queue: Queue[Work] = Queue(_MOST)
        self.lost = 0

    def defer(self, work: Work) -> None:
        """From any thread: queue this work. Beyond the queue's limit it is lost and counted."""
        try:
            self._queue.put_nowait(work)
        except Full:
            self.lost += 1
            self._runtime.log("warning", "keeper queue full: one journal or outbox write lost", lost=self.lost)

    def run(self, save: Callable[[], None]) -> None:
        """Until the service stops. save: called periodically to store what must outlive the process; may raise `StorageError`."""
        swept, saved = time.monotonic() - SWEEP_S, time.monotonic()
        keeper = self._custody.keeper
        while not self._runtime.stop.is_set():
            # A sweep deletes at most twenty clips before the next heartbeat.
            self._runtime.beat()
            with suppress(Empty):
                self._queue.get(timeout=0.2)()
            # Also while the queue is not empty: deletion must not wait for it.
            if time.monotonic() - swept >= SWEEP_S:
                more = self._custody.attend()
                swept = time.monotonic() - (SWEEP_S if more else 0)
            if time.monotonic() - saved >= _SAVE_S:
                self._custody.telling.add(save)
                saved = time.monotonic()
        self._finish()
        keeper.save()

    def _finish(self) -> None:
        """What was queued before the stop is still written."""
        with suppress(Empty):
            while True:
                self._queue.get_nowait()()
