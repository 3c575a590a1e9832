"""Raises and ends the collector's own alarms: facts from the tables, decided in `alarms`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, func, select

from central.fleet.collect import alarms as rules
from central.fleet.collect.store.standing import COLLECTOR, end_alarm, raise_alarm
from central.fleet.collect.store.tables import alarms, clips, conflicts, health, nodes
from privacy import foreign

_BUTTON = "help button"
"""As `describe` names it among the sensors."""


def watch(connection: Connection, now: int, clip_hours: int | None) -> bool:
    """Bring the alarms of all nodes up to date; whether one changed. clip_hours: that a node keeps a clip, None if not known."""
    standing: dict[str, dict[str, str]] = defaultdict(dict)
    found = select(alarms.c.node, alarms.c.name, alarms.c.reason).where(alarms.c.ended.is_(None), alarms.c.origin == COLLECTOR)
    for node, name, reason in connection.execute(found):
        standing[node][name] = reason
    changed = False
    for node, facts in _facts(connection, clip_hours):
        wanted = {one.name: one.reason for one in rules.decide(facts, standing[node], now)}
        for name in sorted(wanted.keys() - standing[node].keys()):
            raise_alarm(connection, node, name, wanted[name], "", now, COLLECTOR)
            changed = True
        for name in sorted(standing[node].keys() - wanted.keys()):
            end_alarm(connection, node, name, now, "over", COLLECTOR)
            changed = True
    return changed


def _facts(connection: Connection, clip_hours: int | None) -> list[tuple[str, rules.NodeFacts]]:
    oldest = _oldest(connection)
    last = select(conflicts.c.node, func.max(conflicts.c.received)).group_by(conflicts.c.node)
    doubled = {row.node: int(row[1]) for row in connection.execute(last)}
    columns = (nodes.c.node, nodes.c.heard, nodes.c.lost, nodes.c.back, nodes.c.first_heard, nodes.c.help_test)
    return [
        (
            row.node,
            rules.NodeFacts(
                heard=row.heard,
                lost=row.lost,
                back=row.back,
                interval=rules.INTERVAL_MS,
                help_point=row.button,
                tested=max(row.help_test, row.first_heard),
                oldest=oldest.get(row.node),
                clip_hours=clip_hours,
                conflict=doubled.get(row.node),
            ),
        )
        for row in connection.execute(select(*columns, nodes.c.describe.contains(_BUTTON).label("button")))
    ]


def _oldest(connection: Connection) -> dict[str, int]:
    """When the oldest clip began that waits for its upload, by node.

    A clip that is being uploaded waits. One that was only recorded does if the node says that as many objects wait as it has clips:
    by its settings it may upload only some of them.
    """
    stages = select(clips.c.node, clips.c.stage, func.count(), func.min(clips.c.began))
    here = stages.where(clips.c.stage.in_(("recorded", "uploading")), clips.c.began > 0).group_by(clips.c.node, clips.c.stage)
    by_node: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for node, stage, number, began in connection.execute(here):
        by_node[node][stage] = (number, began)
    waiting = {
        node: _waiting(numbers)
        for node, numbers in connection.execute(select(health.c.node, health.c.numbers).where(health.c.health_group == "link"))
    }
    found = {}
    for node, kinds in by_node.items():
        all_wait = waiting.get(node, 0) >= sum(number for number, _ in kinds.values())
        times = [began for stage, (_, began) in kinds.items() if all_wait or stage == "uploading"]
        if times:
            found[node] = min(times)
    return found


def _waiting(numbers: str) -> int:
    found: Any = foreign.decode(numbers.encode(), dict[str, float | int | None], "health").get("upload_waiting")
    return int(found or 0)
