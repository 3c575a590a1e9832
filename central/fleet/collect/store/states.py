"""Keeps what is known of each node now, from the messages of a batch: state, description, health, clips, presses.

A message changes something only when it is stored for the first time, and only if it is newer by its number: with a shared
subscription the messages of one node may come in another order. Alarms: `standing`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Table, and_, case, or_, update

from agent.messages import ClipNote, Describe, Health, Help, HelpTest, State
from central.fleet.collect.intake import Cleared, Taken, ms_of
from central.fleet.collect.store import standing
from central.fleet.collect.store.database import greatest, insert
from central.fleet.collect.store.tables import clips, health, nodes, presses
from central.fleet.collect.subscriptions import Fresh
from privacy.foreign import printable

_KEPT = ("trigger", "uploaded")
"""Columns of `clips` that a later message leaves as they are if it does not say them."""
_FIRST = {
    **dict.fromkeys(("state", "reason", "owner", "services", "state_epoch", "describe", "describe_epoch", "help_button"), ""),
    **dict.fromkeys(("back", "state_seq", "describe_seq", "help_test"), 0),
}


def write(connection: Connection, replica: str, fresh: Sequence[Taken], batch: Sequence[Taken | Cleared | Fresh]) -> None:
    """fresh: stored for the first time; batch: all, in the order in which they came, without conflicts."""
    _heard(connection, fresh)
    for one in fresh:
        match one.message.body:
            case State() as body if body.state != "lost":
                _newer(connection, one, "state", _state(body))
            case Describe() as body:
                _newer(connection, one, "describe", {"describe": msgspec.json.encode(body).decode()})
            case HelpTest() as body:
                values = {"help_test": greatest(nodes.c.help_test, one.received), "help_button": body.button}
                connection.execute(update(nodes).where(nodes.c.node == one.node).values(values))
            case _:
                pass
    _presses(connection, fresh)
    _latest(connection, clips, "clip", [_clip(one, one.message.body) for one in fresh if isinstance(one.message.body, ClipNote)])
    numbers = [_health(one, one.message.body) for one in fresh if isinstance(one.message.body, Health)]
    _latest(connection, health, "health_group", numbers)
    standing.write(connection, replica, {id(one) for one in fresh}, batch)


def _heard(connection: Connection, fresh: Sequence[Taken]) -> None:
    """When each node was heard; its will says that it is lost, any other message that it is there."""
    heard: dict[str, tuple[int, bool]] = {}
    for one in fresh:
        heard[one.node] = (one.received, isinstance(one.message.body, State) and one.message.body.state == "lost")
    here = [{**_FIRST, "node": node, "heard": at, "first_heard": at} for node, (at, lost) in sorted(heard.items()) if not lost]
    gone = [
        {**_FIRST, "node": node, "heard": at, "first_heard": at, "lost": at} for node, (at, lost) in sorted(heard.items()) if lost
    ]
    if here:
        statement = insert(connection, nodes)
        back = case((nodes.c.lost.is_not(None), statement.excluded.heard), else_=nodes.c.back)
        values = {"heard": greatest(statement.excluded.heard, nodes.c.heard), "back": back, "lost": None}
        connection.execute(statement.on_conflict_do_update(index_elements=["node"], set_=values), here)
    if gone:
        statement = insert(connection, nodes)
        connection.execute(statement.on_conflict_do_update(index_elements=["node"], set_={"lost": statement.excluded.lost}), gone)


def _newer(connection: Connection, one: Taken, what: str, values: dict[str, Any]) -> None:
    """Set what a message says, unless a message with a higher number of the same epoch said it. what: state or describe."""
    epoch, seq = one.message.envelope.epoch, one.message.envelope.seq
    known = (nodes.c[f"{what}_epoch"], nodes.c[f"{what}_seq"])
    where = and_(nodes.c.node == one.node, or_(known[0] != epoch, known[1] < seq))
    connection.execute(update(nodes).where(where).values({**values, f"{what}_epoch": epoch, f"{what}_seq": seq}))


def _state(body: State) -> dict[str, Any]:
    services = {printable(name, 40): printable(state, 40) for name, state in body.services.items()}
    return {
        "state": body.state,
        "reason": printable(body.reason, 100),
        "since": ms_of(body.since),
        "until": ms_of(body.until),
        "owner": body.owner,
        "services": json.dumps(services),
    }


def _presses(connection: Connection, fresh: Sequence[Taken]) -> None:
    columns = {"pressed": "pressed", "taken": "taken", "unanswered": "unanswered"}
    for one in fresh:
        if isinstance(body := one.message.body, Help):
            column, press = columns[body.action], printable(body.press, 64)
            statement = insert(connection, presses).values(node=one.node, press=press, **{column: one.received})
            connection.execute(statement.on_conflict_do_update(index_elements=["node", "press"], set_={column: one.received}))
            if body.action == "taken":
                standing.answered(connection, one.node, press, one.received)


def _latest(connection: Connection, table: Table, key: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or replace what an earlier message of the same epoch, or another epoch, said."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        old = newest.get((row["node"], row[key]))
        if old is None or old["epoch"] != row["epoch"] or old["seq"] < row["seq"]:
            newest[row["node"], row[key]] = row | (
                {"uploaded": row["uploaded"] or old["uploaded"]} if old and "uploaded" in row else {}
            )
    if not newest:
        return
    statement = insert(connection, table)
    new = statement.excluded
    values = {name: new[name] for name in rows[0] if name not in ("node", key)}
    if "uploaded" in values:
        # The node names the trigger when a clip is recorded, not when it is uploaded.
        values["trigger"] = case((new.trigger == "", table.c.trigger), else_=new.trigger)
        values["uploaded"] = case((table.c.uploaded.is_(None), new.uploaded), else_=table.c.uploaded)
    newer = or_(table.c.epoch != new.epoch, table.c.seq < new.seq)
    statement = statement.on_conflict_do_update(index_elements=["node", key], set_=values, where=newer)
    connection.execute(statement, [newest[name] for name in sorted(newest)])


def _clip(one: Taken, body: ClipNote) -> dict[str, Any]:
    return {
        "node": one.node,
        "clip": printable(body.clip, 64),
        "stage": body.stage,
        "trigger": printable(body.trigger, 40),
        "reason": printable(body.reason, 100),
        "bytes": body.bytes,
        "began": _began(body.clip),
        "changed": one.received,
        "uploaded": one.received if body.stage == "uploaded" else None,
        "epoch": one.message.envelope.epoch,
        "seq": one.message.envelope.seq,
    }


def _began(clip: str) -> int:
    """Milliseconds since 1970 in a clip's name (UUIDv7, RFC 9562 section 5.7); 0 if it is no such name."""
    try:
        name = UUID(clip)
    except ValueError:
        return 0
    return name.int >> 80 if name.version == 7 else 0


def _health(one: Taken, body: Health) -> dict[str, Any]:
    return {
        "node": one.node,
        "health_group": body.group,
        "epoch": one.message.envelope.epoch,
        "seq": one.message.envelope.seq,
        "received": one.received,
        "told": ms_of(one.message.envelope.t),
        "numbers": json.dumps({printable(name, 64): value for name, value in body.values.items()}),
        "unreadable": json.dumps({printable(name, 64): printable(why, 120) for name, why in body.unreadable.items()}),
    }
