"""Where io writes: messages and its journal. Help waits for neither: what the disk refuses is kept and written when it can be.

Both are opened when they can be: a disk that is full, read-only or not there at the start must not keep help down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent.later import Later
from agent.messages import Body
from agent.outbox import Outbox
from agent.service import Runtime
from privacy.errors import LyktaError, StorageError
from privacy.journal import Fact, Journal
from privacy.records import Signer
from provisioning.identity import load_signer

T = TypeVar("T")


class IoStore:
    """May be used from several threads."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._messages, self._entries = Later(), Later()
        self._outbox: Outbox | None = None
        self._journal: Journal | None = None
        self.enrolment: LyktaError | None = None
        """Why there is no key to sign the journal with; None if there is one."""
        self._signer = self._load()
        self._messages.do(self._opened)

    def _load(self) -> Signer | None:
        try:
            return load_signer(self._runtime.layout, "io")
        except LyktaError as problem:
            self.enrolment = problem
            self._runtime.log("error", f"{problem}: help goes on without a journal", hint=problem.hint)
            return None

    def say(self, *bodies: Body) -> None:
        self._messages.do(lambda: self._opened().put(*bodies))

    def clear(self, tail: str) -> None:
        self._messages.do(lambda: self._opened().clear(tail))

    def note(self, kind: str, **facts: Fact) -> None:
        if self._signer:
            self._entries.do(lambda: self._book().append(kind, **facts))

    def retry(self) -> None:
        self._messages.retry()
        self._entries.retry()

    @property
    def trouble(self) -> StorageError | None:
        return self._messages.trouble or self._entries.trouble

    @property
    def lost(self) -> int:
        return self._messages.lost + self._entries.lost

    def close(self) -> None:
        if self._outbox:
            self._outbox.close()

    def _opened(self) -> Outbox:
        if self._outbox is None:
            node, layout = self._runtime.config.node, self._runtime.layout
            self._outbox = _taken(lambda: Outbox(layout.outbox, node.site, node.id, self._runtime.clock))
        return self._outbox

    def _book(self) -> Journal:
        if self._journal is None:
            assert self._signer is not None
            signer, layout = self._signer, self._runtime.layout
            self._journal = _taken(lambda: Journal(layout.journal("io"), "io", signer, self._runtime.clock.now))
        return self._journal


def _taken(open_it: Callable[[], T]) -> T:
    try:
        return open_it()
    except StorageError:
        raise
    except OSError as problem:
        raise StorageError(f"{problem.filename}: {problem.strerror}", "is the data partition mounted, and writable?") from problem
