"""Heads of the journals: each unit signs the heads of the others' chains, and the centre receives them (R32).

A chain that is cut at its end or written anew on the node then disagrees with what was signed elsewhere.
"""

from __future__ import annotations

import time

from agent.messages import ChainHead, Heads
from agent.runtime.control import ask
from agent.runtime.requests import TellHeads
from agent.runtime.service import Runtime
from agent.uplink.storing import OutboxWriter
from privacy.errors import LyktaError
from privacy.records.journal import HEADS, Head, Journal, head_of, last_line
from provisioning.identity import UNITS
from provisioning.layout import Layout

EVERY_S = 3600.0
FIRST_S, RETRY_S = 5.0, 60.0
"""Pause before asking a unit again that did not answer, doubling; and after our own disk refused."""
WHOLE_EVERY = 6
_MOST_EARLY = 5
_MINE = "uplink"
_WITNESSES = ("camera", "io")


class HeadReporter:
    """Work of one thread: at the start, then hourly; a unit that did not answer is tried sooner, with doubling pauses.

    Periodically each head is noted with its whole last line: signed by its own unit, it proves what a number and a hash only claim.
    """

    def __init__(self, runtime: Runtime, journal: Journal, storing: OutboxWriter) -> None:
        self._runtime, self._journal, self._storing = runtime, journal, storing
        self._told = 0
        self._early = _MOST_EARLY

    def run(self) -> None:
        known: dict[str, str] = {}
        waiting: tuple[str, ...] = ()
        due_s, pause_s = 0.0, FIRST_S
        while not self._runtime.stop.is_set():
            if time.monotonic() >= due_s:
                known = self._tell()
                due_s, pause_s = time.monotonic() + self._next_s(known), FIRST_S
                waiting = _WITNESSES if known else ()
            waiting = tuple(one for one in waiting if not self._tell_witness(one, known))
            left_s = max(0.0, due_s - time.monotonic())
            wait_s = min(pause_s, left_s) if waiting else left_s
            pause_s *= 2
            self._runtime.beat(wait_s)
            self._runtime.stop.wait(wait_s)

    def _next_s(self, known: dict[str, str]) -> float:
        """Seconds to the next round: an hour; a minute after our disk refused, and a few times if a unit has no journal yet."""
        if known and (self._early == 0 or set(_WITNESSES) <= known.keys()):
            return EVERY_S
        self._early -= bool(known)
        return RETRY_S

    def _tell(self) -> dict[str, str]:
        """Note and publish the heads; returns them for the other units, empty if our own disk refuses."""
        layout, whole = self._runtime.layout, self._told % WHOLE_EVERY == 0
        others = {unit: head for unit, head in heads(layout).items() if unit != _MINE}
        noted = {unit: (last_line(layout.journal(unit)) if whole else "") or str(head) for unit, head in others.items()}
        if not self._storing.attempt(lambda: self._journal.append(HEADS, **noted)):
            return {}
        self._told += 1
        known = {**others, _MINE: self._journal.head}
        self._storing.put(Heads({unit: ChainHead(head.length, head.sha256) for unit, head in known.items()}))
        mine = (last_line(layout.journal(_MINE)) if whole else "") or str(self._journal.head)
        return {**{unit: str(head) for unit, head in others.items()}, _MINE: mine}

    def _tell_witness(self, witness: str, known: dict[str, str]) -> bool:
        heads = {unit: head for unit, head in known.items() if unit != witness}
        try:
            ask(self._runtime.layout.socket(witness, "uplink"), TellHeads(heads))
        except LyktaError as problem:
            # It gets the next ones.
            self._runtime.log("info", f"heads: {witness}: {problem}")
            return False
        return True


def heads(layout: Layout) -> dict[str, Head]:
    """The head of each unit's chain, without chains that have not begun or cannot be read."""
    found: dict[str, Head] = {}
    for unit in UNITS:
        try:
            head = head_of(layout.journal(unit))
        except (OSError, LyktaError):
            continue
        if head.length:
            found[unit] = head
    return found
