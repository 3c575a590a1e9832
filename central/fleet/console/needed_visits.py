"""Which stops need a visit, by the alarms that stand and the states told: what the catalogue says, and nothing inferred."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from central.fleet.alarm_catalogue import CATALOGUE, entry_of
from central.fleet.console.snapshot import Standing, Stop
from central.fleet.visits.visit import Visit

_SEVERITIES = ("call", "critical", "warning", "notice")


def visits(stops: Mapping[str, Stop], alarms: Iterable[Standing]) -> tuple[Visit, ...]:
    """One visit for each node with an alarm that a visit helps, or that a technician has to see; the most severe first, then the
    oldest."""
    by_node: dict[str, list[Standing]] = defaultdict(list)
    for one in alarms:
        if one.node in stops and _helped_by_visit(one.name):
            by_node[one.node].append(one)
    found = [_by_alarms(stops[node], its) for node, its in by_node.items()]
    found += [_by_state(stop) for stop in stops.values() if stop.node not in by_node and _technician_needed(stop)]
    return tuple(sorted(found, key=lambda visit: (_severity(visit.cause), visit.since_ms, visit.node)))


def _helped_by_visit(name: str) -> bool:
    """One that the catalogue does not know may be: a person decides."""
    return name not in CATALOGUE or bool(CATALOGUE[name].bring.en)


def _technician_needed(stop: Stop) -> bool:
    return stop.state == "lost" or (stop.state == "blind" and stop.owner == "technician")


def _by_alarms(stop: Stop, alarms: list[Standing]) -> Visit:
    ordered = sorted(alarms, key=lambda one: (_severity(one.name), one.raised_ms))
    names = tuple(one.name for one in ordered)
    bring = tuple(name for name in names if entry_of(name).bring.en)
    return Visit(stop.node, stop.stop, stop.area, names[0], names, bring, min(one.raised_ms for one in alarms))


def _by_state(stop: Stop) -> Visit:
    """A node that is lost, or a camera that a technician has to see, and no alarm tells more."""
    if stop.state == "lost":
        return Visit(stop.node, stop.stop, stop.area, "lost", ("lost",), ("lost",), stop.since_ms or stop.heard_ms)
    return Visit(stop.node, stop.stop, stop.area, stop.reason or "unknown", (), (), stop.since_ms or stop.heard_ms)


def _severity(name: str) -> int:
    return _SEVERITIES.index(entry_of(name).severity)
