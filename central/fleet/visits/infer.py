"""From the evidence about one node to a cause, or "unknown". Pure: the same facts in any order give the same answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from central.fleet.visits import link, machine, sight, stop
from central.fleet.visits.causes import CAUSES, UNKNOWN
from central.fleet.visits.evidence import Evidence, Finding
from central.fleet.visits.visit import Visit

_RULES: Final[tuple[Callable[[Evidence], Finding | None], ...]] = (
    *(stop.help_point, stop.contacts, sight.state, sight.camera, sight.lens, sight.lamp, stop.case),
    *(machine.power, machine.storage, machine.heat, machine.clock, machine.restarts, machine.software),
    *(link.link, link.identity, stop.records),
)
"""In this order where two are equally urgent."""


def infer(e: Evidence) -> Visit | None:
    """What this node needs; None if it needs nothing, or somebody already knows.

    A silent node is judged by its silence alone. Of several causes the most urgent one is named, and the others are added; but
    trouble without a known cause that is more urgent than all of them stays unknown.
    """
    if link.planned(e):
        return None
    if e.silence is not None:
        main = link.silence(e)
        return _visit(e, main, []) if main else None
    findings = [found for rule in _RULES if (found := rule(e))]
    known = link.reduced(one for one in findings if one.cause != UNKNOWN)
    open_ = [one for one in findings if one.cause == UNKNOWN]
    if not findings and (strange := machine.odd(e)):
        open_ = [strange]
    if not known:
        return _visit(e, _together(open_), []) if open_ else None
    best = sorted(known, key=lambda one: CAUSES[one.cause].urgency)
    if open_ and CAUSES[best[0].cause].urgency > CAUSES[UNKNOWN].urgency:
        return _visit(e, _together(open_), best)
    return _visit(e, best[0], [*best[1:], *([_together(open_)] if open_ else [])])


def _together(findings: list[Finding]) -> Finding:
    """Several signs without a cause are one trouble."""
    reasons = tuple(dict.fromkeys(reason for one in findings for reason in one.reasons))
    return Finding(UNKNOWN, reasons, min(one.since_ms for one in findings))


def _visit(e: Evidence, main: Finding, others: list[Finding]) -> Visit:
    """others: further findings, said in the reasons; what they need is brought too."""
    also = tuple(dict.fromkeys(f"also {one.cause}" for one in others if one.cause not in (main.cause, UNKNOWN)))
    bring = [*CAUSES[main.cause].bring]
    if bring:
        bring += [item for one in others if one.cause != UNKNOWN for item in CAUSES[one.cause].bring]
    return Visit(e.node, e.stop, e.area, main.cause, main.reasons + also, tuple(dict.fromkeys(bring)), min(main.since_ms, e.now_ms))
