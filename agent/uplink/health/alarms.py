"""The alarms that the uplink raises about its node. `step` is pure: facts and what stands in, what changes out.

Each has two bounds and two times (`agent.alarm_catalogue`), so that it does not come and go at one value. What is not known
changes nothing. Which alarms stand is stored over restarts: one that ended meanwhile is cleared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from agent.alarm_catalogue import CATALOGUE
from agent.messages import Alarm
from agent.outbox.outbox import Outbox
from agent.uplink.storing import OutboxWriter
from privacy.errors import RecordError
from privacy.files import make_folder, on_disk, place, read
from privacy.foreign import decode


class AlarmFacts(Struct, frozen=True):
    """Measured values, None where nothing is known; True and False count as 1 and 0.

    basis_days, certificate_days  until the end
    refused                       kinds of records of which the last desired one was refused
    commands                      refused and ignored ones in the last hour
    """

    temperature_c: float | None = None
    undervoltage: float | None = None
    life_used: float | None = None
    used_share: float | None = None
    read_only: float | None = None
    untrusted: bool | None = None
    full_share: float | None = None
    leaks: int | None = None
    self_test_failed: bool | None = None
    basis_days: float | None = None
    certificate_days: float | None = None
    refused: tuple[str, ...] | None = None
    damaged_journals: int | None = None
    commands: int | None = None
    budget_used: float | None = None
    unanswered: bool | None = None
    door_open: bool | None = None


def _left(days: float | None) -> float | None:
    """Higher is worse for every rule: days that are left count below zero."""
    return None if days is None else -days


VALUES: Final[Mapping[str, Callable[[AlarmFacts], float | None]]] = {
    "help_unanswered": lambda facts: facts.unanswered,
    "leak": lambda facts: facts.leaks,
    "self_test": lambda facts: facts.self_test_failed,
    "full_mask": lambda facts: facts.full_share,
    "too_hot": lambda facts: facts.temperature_c,
    "under_voltage": lambda facts: facts.undervoltage,
    "disk_wear": lambda facts: facts.life_used,
    "disk_full": lambda facts: facts.used_share,
    "disk_read_only": lambda facts: facts.read_only,
    "clock": lambda facts: facts.untrusted,
    "certificate": lambda facts: _left(facts.certificate_days),
    "basis": lambda facts: _left(facts.basis_days),
    "refused": lambda facts: None if facts.refused is None else len(facts.refused),
    "journal": lambda facts: facts.damaged_journals,
    "commands": lambda facts: facts.commands,
    "data_cap": lambda facts: facts.budget_used,
    "door": lambda facts: facts.door_open,
}
"""The value of each alarm of the uplink's, by its id; from `raise_at` on it is bad, below `clear_at` good."""


class Memory(Struct, frozen=True):
    """Of one alarm. since_s: monotonic time since when its value speaks against what stands, None if it does not."""

    stands: bool = False
    since_s: float | None = None


def step(facts: AlarmFacts, memory: Mapping[str, Memory], now_s: float) -> dict[str, Memory]:
    """What stands now, of every alarm."""
    return {name: _step(name, value(facts), memory.get(name, Memory()), now_s) for name, value in VALUES.items()}


def _step(name: str, value: float | None, before: Memory, now_s: float) -> Memory:
    kind = CATALOGUE[name]
    if value is None:
        return before
    against = value < kind.clear_at if before.stands else value >= kind.raise_at
    if not against:
        return Memory(before.stands)
    since_s = now_s if before.since_s is None else before.since_s
    if now_s - since_s >= (kind.ends_s if before.stands else kind.after_s):
        return Memory(not before.stands)
    return Memory(before.stands, since_s)


class UplinkAlarms:
    """Used by the health thread. path: where the standing alarms are stored."""

    def __init__(self, path: Path, outbox: Outbox, storing: OutboxWriter) -> None:
        self._path, self._outbox, self._storing = path, outbox, storing
        self._memory = {name: Memory(stands=True) for name in self._read()}

    def see(self, facts: AlarmFacts, now_s: float) -> None:
        """Raise and clear what changed. A change that the disk refuses is tried again at the next look."""
        found = step(facts, self._memory, now_s)
        for name, memory in found.items():
            changed = memory.stands != self._memory.get(name, Memory()).stands
            if not changed or self._storing.attempt(partial(self._tell, name, memory.stands, facts)):
                self._memory[name] = memory

    def _tell(self, name: str, raised: bool, facts: AlarmFacts) -> None:
        """Stored before it is raised, and removed after it was cleared: too many, never too few."""
        standing = {other for other, memory in self._memory.items() if memory.stands}
        if raised:
            self._store(standing | {name})
            self._outbox.put(Alarm(name, reason_of(name, facts), ""))
        else:
            self._outbox.clear(f"alarm/{name}")
            self._store(standing - {name})

    def _store(self, standing: set[str]) -> None:
        with on_disk(f"alarms: {self._path}"):
            make_folder(self._path.parent)
            place(self._path, msgspec.json.encode(sorted(standing)))

    def _read(self) -> list[str]:
        """A missing or damaged file counts as empty: an alarm of before then stays until its cause comes and goes again."""
        try:
            return [name for name in decode(read(self._path, "alarms"), list[str], "alarms") if name in VALUES]
        except (OSError, RecordError):
            return []


def reason_of(name: str, facts: AlarmFacts) -> str:
    """A stable code: of a refused record its kind, else the alarm's own name."""
    return f"{facts.refused[0]}_refused" if name == "refused" and facts.refused else name
