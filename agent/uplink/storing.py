"""Uses of an outbox by the uplink, which must outlive a full disk, a lock, a neighbour that is away: its uploads make room."""

from __future__ import annotations

from collections.abc import Callable

from agent.messages import Body
from agent.outbox.outbox import Outbox
from agent.runtime.service import Runtime
from privacy.errors import StorageError


class OutboxAccess:
    """Whether uses go, and why not."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.trouble = ""

    def attempt(self, use: Callable[[], object]) -> bool:
        """Whether it went. If not, that is told once, and is tried again by whoever wants it."""
        try:
            use()
        except StorageError as problem:
            if not self.trouble:
                self._runtime.log("error", str(problem), hint=problem.hint)
            self.trouble = str(problem)
            return False
        self.trouble = ""
        return True


class OutboxWriter(OutboxAccess):
    """The uplink's own messages."""

    def __init__(self, runtime: Runtime, outbox: Outbox) -> None:
        super().__init__(runtime)
        self._outbox = outbox

    def put(self, *bodies: Body) -> bool:
        return self.attempt(lambda: self._outbox.put(*bodies))
