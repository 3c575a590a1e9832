"""Which rung of the link rescue is due, or why not. Pure: facts in, verdicts out; time is powered time, which no clock sets."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

Rung = Literal["reconnect", "modem", "reboot"]
Result = Literal["done", "hours", "hold", "help", "daily", "not_fitted"]

RECONNECT_S, MODEM_S, REBOOT_S = 900, 1800, 6 * 3600
AGAIN_S = 2 * 3600
DAY_S = 24 * 3600


class Memory(Struct, frozen=True, forbid_unknown_fields=True):
    """What outlives a restart. All times in seconds of powered time, which counts too little rather than too much.

    boot, mono_s   the boot of the last look, and its seconds since that boot
    well_s         when the broker was last there; heard_s: when io last answered
    reconnected_s, modem_s, rebooted_s   when that rung was last taken; None: never
    told           "<rung> <reason>" of refusals told since the broker was last there
    """

    boot: str = ""
    mono_s: float = 0.0
    powered_s: float = 0.0
    well_s: float = 0.0
    heard_s: float = 0.0
    reconnected_s: float | None = None
    modem_s: float | None = None
    rebooted_s: float | None = None
    told: tuple[str, ...] = ()


class Facts(Struct, frozen=True):
    """away_s: how long the uplink says the broker is away; None: silent, or it never had it since its start.

    outside  it is known to be outside assessed hours; held: a clip is held; call: of io, None if silent
    """

    boot: str
    mono_s: float
    away_s: float | None
    outside: bool
    held: bool
    call: bool | None
    fitted: bool


class Verdict(Struct, frozen=True):
    rung: Rung
    result: Result
    quiet_s: int


def fresh(boot: str, mono_s: float, *, lost: bool) -> Memory:
    """The first look. lost: a memory was there and cannot be read: a reboot may have been a moment ago."""
    return Memory(boot, mono_s, mono_s, mono_s, mono_s, rebooted_s=mono_s if lost else None)


def look(old: Memory, facts: Facts) -> Memory:
    """Memory with the time since the last look. What passed unseen before a restart is not counted."""
    ran = facts.mono_s - old.mono_s if facts.boot == old.boot else facts.mono_s
    powered = old.powered_s + max(ran, 0.0)
    well = old.well_s if facts.away_s is None else max(old.well_s, powered - max(facts.away_s, 0.0))
    heard = old.heard_s if facts.call is None else powered
    told = old.told if powered - well >= RECONNECT_S else ()
    return replace(old, boot=facts.boot, mono_s=facts.mono_s, powered_s=powered, well_s=well, heard_s=heard, told=told)


def decide(memory: Memory, facts: Facts) -> tuple[Memory, list[Verdict]]:
    """What to do now, one rung at most, and refusals not told yet; `memory` as `look` gave it, returned as if it was done."""
    now, quiet = memory.powered_s, memory.powered_s - memory.well_s
    refused: list[tuple[Rung, Result]] = []
    act: Rung | None = None
    if quiet >= REBOOT_S:
        reason = _no_reboot(memory, facts)
        if reason is None:
            act = "reboot"
        else:
            refused.append(("reboot", reason))
    if act is None and quiet >= MODEM_S:
        if not facts.fitted:
            refused.append(("modem", "not_fitted"))
        elif _since(memory.modem_s, now) >= AGAIN_S:
            act = "modem"
    if act is None and quiet >= RECONNECT_S and _since(memory.reconnected_s, now) >= AGAIN_S:
        act = "reconnect"
    news = [(rung, reason) for rung, reason in refused if f"{rung} {reason}" not in memory.told]
    verdicts = [Verdict(rung, reason, int(quiet)) for rung, reason in news]
    memory = replace(memory, told=(*memory.told, *(f"{rung} {reason}" for rung, reason in news)))
    return (_taken(memory, act), [*verdicts, Verdict(act, "done", int(quiet))]) if act else (memory, verdicts)


def _no_reboot(memory: Memory, facts: Facts) -> Result | None:
    if _since(memory.rebooted_s, memory.powered_s) < DAY_S:
        return "daily"
    if not facts.outside:
        return "hours"
    if facts.held:
        return "hold"
    silent_s = memory.powered_s - memory.heard_s
    return "help" if facts.call or (facts.call is None and silent_s < DAY_S) else None


def _since(then: float | None, now: float) -> float:
    return float("inf") if then is None else now - then


def _taken(memory: Memory, rung: Rung) -> Memory:
    now = memory.powered_s
    match rung:
        case "reconnect":
            return replace(memory, reconnected_s=now)
        case "modem":
            return replace(memory, modem_s=now)
        case "reboot":
            return replace(memory, rebooted_s=now)
