"""io's messages and journal. Help waits for neither: writes that the disk refuses are kept in memory and repeated.

Both are opened as soon as possible: a disk that is full, read-only or missing at the start must not stop the help point. Only io
opens its outbox, so that no other process can lock or change it.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.io.alarms import StandingAlarms
from agent.messages import Alarm, Body
from agent.outbox.backlog import Backlog
from agent.outbox.database import PRIVATE
from agent.outbox.outbox import Outbox
from agent.outbox.telling import Telling
from agent.runtime.service import Runtime
from privacy.errors import LyktaError, StorageError
from privacy.records.journal import Fact, Journal
from provisioning.identity import load_signer


class IoStore:
    """May be used from several threads."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._memory = Backlog()
        node, layout = runtime.config.node, runtime.layout
        self.outbox = Outbox(layout.io_outbox, node.site, node.id, runtime.clock, mode=PRIVATE, now=False)
        self._alarms = StandingAlarms(layout.io_alarms)
        if self._alarms.trouble:
            runtime.log("warning", f"alarms of the last start are not known: {self._alarms.trouble}")
        self.enrolment: LyktaError | None = None
        """Why there is no key to sign the journal; None if there is one."""
        self._telling = Telling(self.outbox, self._open_journal(), apart=True)
        self._telling.add(self.outbox.pending)

    def _open_journal(self) -> Journal | None:
        runtime = self._runtime
        try:
            return Journal(runtime.layout.journal("io"), "io", load_signer(runtime.layout, "io"), runtime.clock.now, lazy=True)
        except LyktaError as problem:
            self.enrolment = problem
            runtime.log("error", f"{problem}: help goes on without a journal", hint=problem.hint)
            return None

    @property
    def stood(self) -> Mapping[str, str]:
        """The alarms that were active when io last ended, by topic, with what each refers to."""
        return self._alarms.before

    def say(self, *bodies: Body) -> None:
        for body in bodies:
            if isinstance(body, Alarm):
                self._memory.add(lambda alarm=body: self._alarms.raised(alarm))  # type: ignore[misc]
        self._telling.say(*bodies)

    def clear(self, tail: str) -> None:
        self._telling.clear(tail)
        # Only after the message is in the outbox; writes are done in order.
        self._telling.add(lambda: self._memory.add(lambda: self._alarms.cleared(tail)))

    def note(self, kind: str, /, **facts: Fact) -> None:
        self._telling.note(kind, **facts)

    def begin_segment(self, **facts: Fact) -> bool:
        return self._telling.begin_segment(**facts)

    def retry(self) -> None:
        self._telling.retry()
        self._memory.retry()

    @property
    def trouble(self) -> StorageError | None:
        return self._telling.trouble or self._memory.trouble

    @property
    def lost(self) -> int:
        return self._telling.lost + self._memory.lost

    def close(self) -> None:
        self.outbox.close()
