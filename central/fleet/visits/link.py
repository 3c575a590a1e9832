"""Signs of the link, and of nodes that are silent. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

from agent.messages import Failure, Rescue, State, Tamper
from central.fleet.visits import machine
from central.fleet.visits.causes import UNKNOWN
from central.fleet.visits.evidence import DAY_MS, FLEET_SHARE, HOUR_MS, LASTING_MS, MINUTE_MS, Evidence, Finding, Word

RESCUES = 2
"""Each says that there was no broker for a quarter of an hour: once may be the network's night work."""
LOSSES = 4
"""Connections of a day that were lost and came back in the same boot; a broker that restarts is one of all nodes."""
LATE = 10
"""Late reports of health, one to five minutes apart: some come after each short outage."""
BREAKS, _OF_THE_LINE = 10, ("broker_silent", "broker_unreachable", "broker_hung_up")
"""Connections that ended without a word of the broker, since the uplink's start: of one week with a bad link, or of a good year."""
CONNECTED_SHARE = 0.9
"""Less than nine tenths of a day: more than two hours without a link."""
GROUP = 2
"""Neighbours that fall silent with a node: by chance two do so within a minute about never, three never."""
TAKEN_OVER = 3
"""A node whose connection hangs takes over its own session now and then; two nodes do it to each other all the time."""
CASE_MS = 10 * MINUTE_MS
"""Silence so soon after the case was opened has to do with it."""
CLOCK_ERROR_MS = 5 * MINUTE_MS
WORKDAY_MS = 8 * HOUR_MS
"""So long may a node that was stopped in order stay away before somebody asks."""
EXPLAINS: Mapping[str, frozenset[str]] = {
    "power_supply": frozenset({"watchdog", "mobile_link", "software", "camera"}),
    "overheated": frozenset({"watchdog", "software"}),
    "fan_dead": frozenset({"watchdog", "software"}),
    "memory_card": frozenset({"software"}),
    "two_identities": frozenset({"mobile_link"}),
    "vandalism": frozenset({"case_open", "camera_moved", "lens_covered", "camera", "door_open"}),
    "water": frozenset({"io_wiring", "case_open", "door_open", "help_button_jammed", "lamp_dead"}),
    "io_wiring": frozenset({"help_path"}),
    "lamp_dead": frozenset({"lens_covered"}),
}
"""What a cause brings with it."""


def link(e: Evidence) -> Finding | None:
    """Several steps of the link rescue, or two other signs. Neighbours with the same make it the network's."""
    rescues = [one for one in e.recent(3 * DAY_MS) if isinstance(one.body, Rescue)]
    losses = _same_boot_losses(list(e.recent()))
    late = e.late if e.latest("trusted") != 0 else 0
    broken = sum(e.breaks.get(cause, 0) for cause in _OF_THE_LINE)
    share = e.latest("connected_share")
    signs = (
        *([f"rescue {len(rescues)}"] if len(rescues) >= RESCUES else []),
        *([f"lost_often {losses}"] if losses >= LOSSES else []),
        *([f"late {late}"] if late >= LATE else []),
        *([f"breaks {broken}"] if broken >= BREAKS else []),
        *([f"connected_share {share * 100:.0f}"] if share is not None and share < CONNECTED_SHARE else []),
    )
    if len(signs) < 2 and len(rescues) < RESCUES:
        return None
    since = min([one.at_ms for one in rescues], default=e.heard_ms - DAY_MS)
    if e.rescued_together >= GROUP:
        return Finding("mobile_cell", (f"neighbours_link {e.rescued_together}", *signs), since)
    return Finding("mobile_link", signs, since)


def identity(e: Evidence) -> Finding | None:
    """Two nodes use one name."""
    taken = e.breaks.get("session_taken_over", 0)
    reasons = (
        *([f"conflicts {e.conflicts}"] if e.conflicts else []),
        *([f"taken_over {taken}"] if taken >= TAKEN_OVER else []),
    )
    return Finding("two_identities", reasons, e.heard_ms) if reasons else None


def planned(e: Evidence) -> bool:
    """Maintenance, a visit or a pause: somebody knows."""
    if e.alarm("maintenance") or (e.state, e.reason) == ("setup", "visit"):
        return e.silence is None or e.alarm("maintenance") is not None or e.now_ms - e.silence.since_ms < HOUR_MS
    return (e.state, e.reason) == ("off", "paused") and (e.until_ms is None or e.until_ms > e.now_ms)


def silence(e: Evidence) -> Finding | None:
    """Why a node is silent. Not judged within the first minutes, nor when half of the fleet fell silent with it."""
    found = e.silence
    if found is None or e.now_ms - found.since_ms < LASTING_MS or found.fleet_share >= FLEET_SHARE:
        return None
    since, silent = found.since_ms, f"silent {(e.now_ms - found.since_ms) // MINUTE_MS}"
    if e.state == "stopping":
        return Finding("stopped", (silent, "stopped"), since) if e.now_ms - since >= WORKDAY_MS else None
    if e.certificate_end_ms is not None and e.certificate_end_ms <= since + CLOCK_ERROR_MS:
        return Finding("certificate_expired", (silent, "certificate_end"), since)
    if found.together >= GROUP:
        # Each counts itself among those who told of it.
        if 2 * found.told_link > found.together:
            return Finding("mobile_cell", (silent, f"area_silent {found.together}", f"link_before {found.told_link}"), since)
        if found.told_link:
            return Finding(UNKNOWN, (silent, f"area_silent {found.together}", f"link_before {found.told_link}"), since)
        return Finding("power_area", (silent, f"area_silent {found.together}", "no_last_words"), since)
    return _of_last_words(e, silent, since)


def _of_last_words(e: Evidence, silent: str, since: int) -> Finding:
    rules: tuple[Callable[[Evidence], Finding | None], ...] = (
        machine.power, machine.storage, machine.heat, machine.restarts, _uplink, _opened, link, identity
    )  # fmt: skip
    findings = [one for one in (rule(e) for rule in rules) if one and one.cause not in ("disk_full", "mobile_cell")]
    known = reduced(one for one in findings if one.cause != UNKNOWN)
    if len(known) == 1:
        return Finding(known[0].cause, (silent, *known[0].reasons), since)
    if known:
        return Finding(UNKNOWN, (silent, f"conflicting {', '.join(one.cause for one in known)}"), since)
    said = tuple(reason for one in findings for reason in one.reasons)
    return Finding(UNKNOWN, (silent, *(said or ("nothing_said",))), since)


def reduced(findings: Iterable[Finding]) -> list[Finding]:
    """Without those that another one brings with it."""
    all_ = list(findings)
    brought = {cause for one in all_ for cause in EXPLAINS.get(one.cause, ())}
    return [one for one in all_ if one.cause not in brought]


def _uplink(e: Evidence) -> Finding | None:
    """Only the uplink's failures can silence a node."""
    words = tuple(one for one in e.words if not isinstance(one.body, Failure) or one.body.unit == "uplink")
    return machine.software(Evidence(e.node, "", "", e.now_ms, e.heard_ms, "", "", "", e.since_ms, words=words))


def _opened(e: Evidence) -> Finding | None:
    """The case was opened just before, and nobody closed it."""
    since = e.silence.since_ms if e.silence else e.now_ms
    case = [one for one in e.words if isinstance(one.body, Tamper) and one.body.kind == "case"]
    if case and isinstance(last := case[-1].body, Tamper) and last.action == "found" and since - case[-1].at_ms <= CASE_MS:
        return Finding("vandalism", ("case_then",), case[-1].at_ms)
    return None


def _same_boot_losses(words: list[Word]) -> int:
    """Wills after which the node was heard again in the same boot."""
    said = [(one.boot, isinstance(one.body, State) and one.body.state == "lost") for one in words if not one.late]
    pairs = pairwise(said)
    return sum(lost and not again and boot == its for (boot, lost), (its, again) in pairs)
