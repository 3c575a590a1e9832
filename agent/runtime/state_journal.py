"""Each change of a state becomes an entry of the journal of the unit that is responsible for it: the account of a minute needs it.

Each entry is signed and synced. A state that changes all the time must not wear out the card, so entries are limited; the next one
says how many changes were left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import NamedTuple

from agent.messages import Owner, StateName
from agent.runtime.rate_limit import Limit
from privacy.records.journal import Fact

Note = Callable[..., object]
"""Writes a journal entry, or queues it: called with its kind, and its facts by name."""
STATE, NODE_STATE = "state", "node_state"
"""Kinds of entries: a unit's own state; the node's, which the uplink decides."""
MOST, PERIOD_S = 30, 3600.0
"""At most so many entries in an hour: 0.5 MB a day, where a day of rest and filming has about ten entries."""


class Standing(NamedTuple):
    """What an entry says. until: not a part of what makes a change."""

    state: StateName
    reason: str
    owner: Owner


class StateJournal:
    """May be called from several threads, with the present state, as often as it is known: what could not be noted earlier is then
    noted as soon as the limit permits."""

    def __init__(self, note: Note, kind: str = STATE, mono_s: Callable[[], float] = time.monotonic) -> None:
        self._note, self._kind, self._mono_s = note, kind, mono_s
        self._lock, self._limit = Lock(), Limit(MOST, PERIOD_S)
        self._noted: Standing | None = None
        self._seen: Standing | None = None
        self._left_out = 0

    def see(self, state: StateName, reason: str, owner: Owner, until: datetime | None = None) -> None:
        now = Standing(state, reason, owner)
        with self._lock:
            changed, self._seen = now != self._seen, now
            if now == self._noted and not self._left_out:
                return
            if self._limit.take(self._mono_s()) is None:
                self._left_out += changed
                return
            # The state to which an entry belongs may have lasted only since an earlier change that was left out: say so.
            left_out, self._left_out, self._noted = self._left_out, 0, now
            facts: dict[str, Fact] = {"state": state, "reason": reason, "owner": owner}
            if until:
                facts["until"] = f"{until:%Y-%m-%dT%H:%M:%SZ}"
            self._note(self._kind, **facts, **({"left_out": left_out} if left_out else {}))
