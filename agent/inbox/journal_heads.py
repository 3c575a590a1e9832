"""Heads of the other units' journals as the uplink reports them: unverified, noted at most once an hour (R32).

Without the limit a compromised uplink could fill the SD card with entries, each signed and synced.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.runtime.requests import HeadsNoted, TellHeads
from privacy.records.chains import read_heads
from privacy.records.journal import Fact
from provisioning.identity import UNITS

EVERY_MS = 3_600_000


class OtherHeads:
    """unit: owner of the journal; note: writes a journal entry with these facts."""

    def __init__(self, unit: str, note: Callable[[dict[str, Fact]], None], now_ms: Callable[[], int]) -> None:
        self._unit, self._note, self._now_ms = unit, note, now_ms
        self._due_ms = 0

    def take(self, request: TellHeads) -> HeadsNoted:
        """How many were noted, 0 within an hour of the last. `RecordError` if they are not valid heads."""
        others, given = set(UNITS) - {self._unit}, read_heads(request.heads)
        known: dict[str, Fact] = {unit: str(head) for unit, head in given.items() if unit in others}
        now_ms = self._now_ms()
        if not known or now_ms < self._due_ms:
            return HeadsNoted(0)
        self._due_ms = now_ms + EVERY_MS
        self._note(known)
        return HeadsNoted(len(known))
