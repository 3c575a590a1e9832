"""Heads of the journals: each unit signs where the others' chains stand, and the centre hears it (R32).

A chain that is cut at its end or written anew on the node then disagrees with what was signed elsewhere.
"""

from __future__ import annotations

from agent.control import ask
from agent.messages import ChainHead, Heads
from agent.publisher import Storing
from agent.service import Runtime
from privacy.errors import LyktaError
from privacy.journal import HEADS, Head, Journal, head_of
from provisioning.identity import UNITS
from provisioning.layout import Layout

EVERY_S = 3600.0
FIRST_S = 5.0
_MINE = "uplink"
_WITNESSES = ("camera", "io")


class HeadTeller:
    """One thread's work: at the start, then hourly; sooner, with doubling pauses, while a witness has not heard yet."""

    def __init__(self, runtime: Runtime, journal: Journal, storing: Storing) -> None:
        self._runtime, self._journal, self._storing = runtime, journal, storing

    def run(self) -> None:
        pause = FIRST_S
        while True:
            pause = EVERY_S if self._tell() else min(EVERY_S, 2 * pause)
            if self._runtime.stop.wait(pause):
                return

    def _tell(self) -> bool:
        """Whether everybody heard it."""
        others = {unit: head for unit, head in heads(self._runtime.layout).items() if unit != _MINE}
        noted = self._storing.do(lambda: self._journal.append(HEADS, **{unit: str(head) for unit, head in others.items()}))
        if not noted:
            return False
        known = {**others, _MINE: self._journal.head}
        self._storing.put(Heads({unit: ChainHead(head.length, head.sha256) for unit, head in known.items()}))
        heard = [
            self._tell_witness(witness, {unit: str(head) for unit, head in known.items() if unit != witness})
            for witness in _WITNESSES
        ]
        return all(heard)

    def _tell_witness(self, witness: str, known: dict[str, str]) -> bool:
        try:
            ask(self._runtime.layout.socket(witness, "uplink"), {"verb": "heads", "heads": known})
        except LyktaError as problem:
            # It hears the next ones.
            self._runtime.log("info", f"heads: {witness}: {problem}")
            return False
        return True


def heads(layout: Layout) -> dict[str, Head]:
    """Where each unit's chain stands; no chain that has not begun, or cannot be read."""
    found: dict[str, Head] = {}
    for unit in UNITS:
        try:
            head = head_of(layout.journal(unit))
        except (OSError, LyktaError):
            continue
        if head.length:
            found[unit] = head
    return found
