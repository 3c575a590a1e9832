"""The desk: signs and sends the answers that were drafted in the console, with an officer's key, and says what came of each.

The console has no key; this has. What it signs without asking is the answer to a call for help that stands at the node itself, as
the node's own retained alarm says: a database that somebody wrote into can draft nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from central.fleet.collect.reporting import Reporter
from central.fleet.collect.store.database import may_pass, reason_of
from central.fleet.console.drafts import Draft, claim, settle
from central.fleet.console.snapshot import now_ms
from central.fleet.node_commands import Desk, LastHeard, send_command
from central.keys.access_log import log_access
from central.keys.bundle import parse_node_name
from central.keys.officers import authorize
from drivers.threads import Thread, start
from privacy.errors import LyktaError, UnreachableError, UsageError

_TURN_S, _WAIT_S, _JOIN_S = 0.2, 10.0, 15.0
_AT_ONCE = 16
"""Answers that are sent side by side: one node that does not answer holds up no other call."""
_PRESS = r"[0-9a-f]{1,64}"
_NAME = r"[A-Za-z0-9._@-]{1,80}"


@dataclass(frozen=True)
class AnsweringDesk:
    """officer: whose key signs, "" for the only one in the folder; said: prints a line about each answer."""

    keys: Path
    broker: str
    officer: str
    engine: Engine
    report: Reporter
    said: Callable[[str], None]
    _log: Lock = field(default_factory=Lock)
    _free: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_AT_ONCE))

    def run(self, stop: Event) -> None:
        """Answer until told to stop. A fault of this program ends it; a database that is away is waited for."""
        failures: list[BaseException] = []
        threads: list[Thread] = []

        def failed(problem: BaseException) -> None:
            failures.append(problem)
            stop.set()

        while not stop.is_set():
            for draft in self._claimed():
                self._free.acquire()
                threads.append(start("answer", lambda draft=draft: self._work(draft), failed))  # type: ignore[misc]
            threads = [one for one in threads if one.is_alive()]
            stop.wait(_TURN_S)
        for thread in threads:
            thread.join(_JOIN_S)
        if failures:
            raise failures[0]

    def answer_waiting(self) -> int:
        """Answer the drafts that wait now, one after the other; how many were done."""
        return sum(self.answer(draft) == "done" for draft in self._claimed())

    def answer(self, draft: Draft) -> str:
        """Sign and send one answer; the result, which is also in the database: done, refused or failed."""
        try:
            result, reason = self._send(draft)
        except UnreachableError as problem:
            result, reason = "failed", "unreachable"
            self.report.foreign(f"{draft.node}: {problem}")
        except LyktaError as problem:
            result, reason = "refused", str(problem)[:120]
        with self.engine.begin() as connection:
            settle(connection, draft, result, reason, now_ms())
        self.said(f"{draft.node} call {draft.press}: {result}" + (f": {reason}" if reason else ""))
        return result

    def _send(self, draft: Draft) -> tuple[str, str]:
        """`LyktaError` if the draft is no answer to a call that stands, or the officer may not answer it."""
        node = parse_node_name(draft.node)
        if not re.fullmatch(_PRESS, draft.press):
            raise UsageError("press: is no name of a press")

        def before(heard: LastHeard) -> None:
            if heard.press != draft.press:
                raise UsageError("not_standing")
            by = draft.officer if re.fullmatch(_NAME, draft.officer) else ""
            facts = {"node": draft.node, "press": draft.press, "drafted": by}
            with self._log:
                log_access(self.keys, "answer", facts, authorize(self.keys, self.officer, "command", facts))

        args = {"press": draft.press}
        desk = Desk(self.keys, self.broker, self.officer, "desk")
        report = send_command(desk, node, "ack", args, _WAIT_S, lambda _: None, before)
        return (report.final.result, report.final.reason) if report.final else ("failed", "no_answer")

    def _work(self, draft: Draft) -> None:
        try:
            self.answer(draft)
        finally:
            self._free.release()

    def _claimed(self) -> list[Draft]:
        try:
            with self.engine.begin() as connection:
                found = claim(connection, now_ms())
        except DBAPIError as problem:
            if not may_pass(problem):
                raise
            self.report.trouble("database", reason_of(problem))
            return []
        self.report.well("database")
        return found
