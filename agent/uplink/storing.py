"""The uplink's use of an outbox. A full disk, a lock or an absent service must not end the uplink, as its uploads free space."""

from __future__ import annotations

from collections.abc import Callable

from agent.messages import Body
from agent.outbox.outbox import Outbox
from agent.runtime.service import Runtime
from privacy.errors import StorageError


class OutboxAccess:
    """Runs operations on an outbox. trouble: the last error, "" after a success."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.trouble = ""

    def attempt(self, use: Callable[[], object]) -> bool:
        """Run `use`; whether it succeeded. A failure is logged once; the caller tries again."""
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
    """Puts the uplink's own messages into the outbox."""

    def __init__(self, runtime: Runtime, outbox: Outbox) -> None:
        super().__init__(runtime)
        self._outbox = outbox

    def put(self, *bodies: Body) -> bool:
        return self.attempt(lambda: self._outbox.put(*bodies))
