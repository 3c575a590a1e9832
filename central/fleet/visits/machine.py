"""Signs of the machine: power, disk, heat, clock, restarts, programs. Pure; each rule gives a finding or None."""

from __future__ import annotations

from collections import Counter

from agent.messages import Failure, Rescue, State
from central.fleet.visits.causes import UNKNOWN
from central.fleet.visits.evidence import DAY_MS, HOUR_MS, LASTING_MS, MINUTE_MS, Evidence, Finding, Point

DIPS = 3
"""Falls of the voltage in a day that count as a weak supply: one may be the grid's, at a boot there is one."""
HOT_C, STAYS_HOT_C = 80.0, 75.0
"""A Raspberry Pi lowers its clock from 80 °C on; hot for ten minutes or longer counts, with a margin for readings in between."""
COOL_BY_C = 20.0
"""So much cooler neighbours have the same weather and another fan; sun on one case alone makes less (a rule of thumb)."""
WORN_SHARE, SPARES_USED = 0.9, 2
"""Of an eMMC's lifetime; pre_eol_info 2: 80 % of its spare blocks are used (JEDEC 5.0)."""
FULL_SHARE = 0.98
"""The keeper deletes clips before that: so full is what it cannot delete."""
ROOMY_SHARE = 0.9
"""A disk with so much room that refuses all the same is not full, but broken or read-only."""
UNTRUSTED_MS = 70 * MINUTE_MS
"""Two of the longest pauses of systemd-timesyncd (2048 s): a node with a network has synchronised by then."""
AGAIN = 3
"""The same failure so often in a day, or so many boots, is no accident; systemd's hook counts likewise (`exit_report`)."""
_FINAL = ("2", "5", "6", "7")
"""Exit codes that name a cause outside of the program: usage, records, permission, enrolment (README)."""
_CRASHES = ("signal", "core-dump", "watchdog", "timeout", "oom-kill")
_HARD = ("disk_error", "disk_read_only", "data_mount_failed")


def power(e: Evidence) -> Finding | None:
    """The voltage falls often, or is low at several looks."""
    dips = e.grown("undervoltage_times")
    low = [point for point in e.series.get("undervoltage", ()) if point.value == 1]
    reasons = (*([f"undervoltage {dips}"] if dips >= DIPS else []), *(["undervoltage_now"] if len(low) >= 2 else []))
    if not reasons:
        return None
    return Finding("power_supply", reasons, min([point.at_ms for point in low], default=_rise(e, "undervoltage_times")))


def storage(e: Evidence) -> Finding | None:
    """The disk refuses, is worn, or is full; hard faults of a full disk are two causes, and so none."""
    alarm = e.alarm("disk")
    told = alarm.reason if alarm else ""
    lost = e.grown("camera_events_lost", "io_events_lost")
    hard = [
        *([f"alarm {told}"] if told in _HARD else []),
        *([f"state {e.reason}"] if e.reason in _HARD else []),
        *(["read_only"] if e.latest("read_only") == 1 else []),
        *(["disk_worn"] if (e.latest("life_used") or 0) >= WORN_SHARE or (e.latest("end_of_life") or 0) >= SPARES_USED else []),
    ]
    share = e.latest("used_share") or 0
    full = [
        *([f"alarm {told}"] if told in ("disk_full", "no_inodes") else []),
        *([f"state {e.reason}"] if e.reason == "no_inodes" else []),
        *([f"used_share {share * 100:.0f}"] if share >= FULL_SHARE else []),
    ]
    soft = [
        *([f"state {e.reason}"] if e.reason.startswith("disk_refuses") else []),
        *([f"events_lost {lost}"] if lost else []),
    ]
    since = alarm.raised_ms if alarm else e.since_ms if e.reason.startswith(("disk", "data")) else e.heard_ms
    if hard and full:
        return Finding(UNKNOWN, ("conflicting memory_card, disk_full", *hard, *full), since)
    if full:
        return Finding("disk_full", (*full, *soft), since)
    if hard or (soft and 0 < share < ROOMY_SHARE):
        return Finding("memory_card", (*hard, *soft), since)
    return Finding(UNKNOWN, tuple(soft), since) if soft else None


def heat(e: Evidence) -> Finding | None:
    """Hot for ten minutes or longer; it is the fan if one is fitted and the neighbours are cool."""
    points = e.series.get("temperature_c", ())
    if len(points) < 2 or points[-1].value < HOT_C or points[-2].value < STAYS_HOT_C:
        return None
    since = _hot_since(points)
    hot, near = f"temperature {points[-1].value:.0f}", e.neighbour_temperature
    if "fan" in e.sensors and near is not None and near <= points[-1].value - COOL_BY_C:
        return Finding("fan_dead", (hot, f"neighbours_cool {near:.0f}"), since)
    return Finding("overheated", (hot,), since)


def clock(e: Evidence) -> Finding | None:
    """No trusted time for long, or several boots without one after a boot that had it at once (a battery that died)."""
    waits = e.reason == "time_unknown" or e.latest("trusted") == 0
    began = max((one.at_ms for one in e.words if one.clock != "unknown"), default=None)
    since = e.since_ms if e.reason == "time_unknown" else _last_trusted(e)
    since = since if began is None else max(since, began)
    if waits and e.heard_ms - since >= UNTRUSTED_MS:
        return Finding("clock", (f"clock_untrusted {(e.heard_ms - since) // MINUTE_MS}",), since)
    first: dict[str, tuple[int, str]] = {}
    for one in e.words:
        if not (isinstance(one.body, State) and one.body.state == "lost"):
            first.setdefault(one.boot, (one.at_ms, one.clock))
    firsts = sorted(first.values())
    last = next((at for at, (_, state) in enumerate(reversed(firsts)) if state != "unknown"), len(firsts))
    if last >= 2 and any(state == "holdover" for _, state in firsts):
        return Finding("clock", (f"clock_boots {last}",), firsts[-last][0])
    return None


def restarts(e: Evidence) -> Finding | None:
    """Boots again and again: by the watchdog, or for a reason that is not known; not if the power or heat is one."""
    if power(e) or heat(e):
        return None
    words = [one for one in e.recent() if not (isinstance(one.body, State) and one.body.state == "lost")]
    boots = len({one.boot for one in words})
    resets = e.grown("watchdog_resets")
    ordered = sum(isinstance(one.body, Rescue) and one.body.rung == "reboot" for one in words)
    ordered += sum(isinstance(one.body, State) and one.body.state == "stopping" for one in words)
    since = min((one.at_ms for one in words), default=e.heard_ms)
    if resets and boots > 1:
        return Finding("watchdog", (f"watchdog {resets}", f"boots {boots}"), since)
    if boots - ordered > AGAIN:
        return Finding(UNKNOWN, (f"boots {boots}",), since)
    return None


def software(e: Evidence) -> Finding | None:
    """A unit that crashes, hangs or ends with an error again and again; several units at once have no known cause.

    The camera that ends with an exit code is judged by `sight`, io by `stop`: both have hardware. So is a disk by `storage`.
    """
    found: Counter[tuple[str, str]] = Counter()
    for one in e.recent():
        if isinstance(one.body, Failure) and not (one.body.result == "exit-code" and one.body.status in _FINAL):
            found[one.body.unit, one.body.result] += 1
    since = min((one.at_ms for one in e.recent() if isinstance(one.body, Failure)), default=e.since_ms)
    own = {unit for unit, _ in found if unit not in ("camera", "io") and storage(e) is None}
    crashed = {unit for (unit, result), times in found.items() if times >= AGAIN and (result in _CRASHES or unit in own)}
    if e.reason in ("camera_crashes", "camera_hangs"):
        crashed.add("camera")
    if e.reason == "io_silent" and any(unit == "io" and result in _CRASHES for unit, result in found):
        crashed.add("io")
    if len(crashed) == 1 and not ("camera" in crashed and e.grown("pictures_lost", "pictures_broken") >= AGAIN):
        (unit,) = crashed
        return Finding("software", (f"failures {unit}",), since)
    return Finding(UNKNOWN, (f"failures {', '.join(sorted(crashed))}",), since) if crashed else None


def odd(e: Evidence) -> Finding | None:
    """Numbers that no working node has, and that no rule explains."""
    signs = [
        *[name for name in ("camera_restarts", "io_restarts", "uplink_restarts") if e.grown(name) >= AGAIN],
        *[name for name in ("messages_set_aside", "messages_refused", "corrupt") if e.grown(name) > 0],
        *(["pictures"] if e.grown("pictures_lost", "pictures_broken") >= 100 else []),
        *(["memory_available_mb"] if (low := e.latest("memory_available_mb")) is not None and low < 50 else []),
    ]
    return Finding(UNKNOWN, tuple(f"odd {name}" for name in signs), e.heard_ms - HOUR_MS) if signs else None


def _rise(e: Evidence, name: str) -> int:
    points = e.series.get(name, ())
    return points[0].at_ms if points else e.heard_ms


def _hot_since(points: tuple[Point, ...]) -> int:
    since = points[-1].at_ms
    for point in reversed(points):
        if point.value < STAYS_HOT_C:
            break
        since = point.at_ms
    return since


def _last_trusted(e: Evidence) -> int:
    """When the time was last trusted as far as health says it; else the first look without trust."""
    points = [point for point in e.series.get("trusted", ()) if point.at_ms > e.heard_ms - DAY_MS - LASTING_MS]
    trusted = [point.at_ms for point in points if point.value == 1]
    return max(trusted) if trusted else min((point.at_ms for point in points), default=e.heard_ms)
