"""What is kept of each hour after the messages are deleted: how full the stop was at most, and whether help was called.

Bands, never numbers (R44). The hour is the node's, unless its clock was not trusted: a node that was offline tells it days later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, case

from agent.messages import Help, Presence
from central.fleet.collect.intake import Taken, ms_of
from central.fleet.collect.store.database import insert
from central.fleet.collect.store.tables import hours

HOUR_MS = 3_600_000
PRESENCE = ("none", "few", "some", "crowd")
HELP = ("one", "several")


def keep(connection: Connection, fresh: Iterable[Taken]) -> None:
    """fresh: messages that are stored for the first time."""
    fullest: dict[tuple[str, int], str] = {}
    calls: dict[tuple[str, int], str] = {}
    for one in fresh:
        match one.message.body:
            case Presence(people=people):
                key = (one.node, _hour(one))
                fullest[key] = max(people, fullest.get(key, "none"), key=PRESENCE.index)
            case Help(action="pressed"):
                key = (one.node, _hour(one))
                calls[key] = "several" if key in calls else "one"
            case _:
                pass
    new = insert(connection, hours).excluded.band
    fuller = case((_place(new) > _place(hours.c.band), new), else_=hours.c.band)
    _upsert(connection, "presence", fullest, fuller)
    _upsert(connection, "help", calls, "several")


def _upsert(connection: Connection, what: str, found: dict[tuple[str, int], str], again: Any) -> None:
    """again: the band if the hour has one already."""
    rows = [{"node": node, "hour": hour, "what": what, "band": found[node, hour]} for node, hour in sorted(found)]
    if rows:
        statement = insert(connection, hours)
        connection.execute(statement.on_conflict_do_update(index_elements=["node", "hour", "what"], set_={"band": again}), rows)


def _place(band: Any) -> Any:
    return case(*[(band == name, place) for place, name in enumerate(PRESENCE)], else_=-1)


def _hour(one: Taken) -> int:
    envelope = one.message.envelope
    told = ms_of(envelope.t) if envelope.clock != "unknown" else None
    return (one.received if told is None else told) // HOUR_MS * HOUR_MS
