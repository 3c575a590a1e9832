"""What a technician sees of the outbox. The file is the services' alone, so the uplink is asked; nothing here changes anything.

The uplink loads this module: what draws tables is imported only by who draws.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.control import Request, ask
from agent.outbox import Mark, Outbox
from privacy.errors import UsageError
from provisioning.layout import Layout

_NEXT = 20


def survey(outbox: Outbox, request: Request) -> Request:
    """The uplink's answer: what waits by class, what would be sent next, what was dropped; with `seq`, that one message."""
    if "seq" in request:
        return _message(outbox, request["seq"])
    following = [
        {"seq": one.seq, "class": one.rank.name.lower(), "topic": one.tail, "put": _moment(one.put_ms), "bytes": len(one.payload)}
        for one in outbox.take(Mark(), _NEXT)
    ]
    classes = [
        {"class": one.name, "rows": one.rows, "bytes": one.bytes, "oldest": _moment(one.oldest_ms)} for one in outbox.classes()
    ]
    facts = {"epoch": outbox.epoch, "pending": outbox.pending(), "file_bytes": outbox.size(), "dropped": outbox.drops()}
    return {**facts, "classes": classes, "next": following}


def _message(outbox: Outbox, seq: Any) -> Request:
    waiting = outbox.find(seq) if isinstance(seq, int) else None
    if waiting is None:
        raise UsageError(f"outbox: no such message waits (got {seq!r})", "`lykta outbox list` shows what is sent next")
    message = msgspec.json.decode(waiting.payload) if waiting.payload else None
    return {"seq": waiting.seq, "topic": waiting.tail, "retain": waiting.retain, "expiry_s": waiting.expiry_s, "message": message}


def outbox_list(layout: Layout, as_json: bool) -> None:
    from agent.inspect import show, table_of

    facts = ask(layout.socket("uplink", "ctl"), {"verb": "outbox"})
    table = table_of("class", "waiting", "bytes", "oldest")
    for one in facts["classes"]:
        table.add_row(one["class"], str(one["rows"]), str(one["bytes"]), one["oldest"] or "")
    table.add_row("file", "", str(facts["file_bytes"]), "")
    for cause, count in facts["dropped"].items():
        table.add_row(f"dropped: {cause}", str(count), "", "")
    for one in facts["next"]:
        table.add_row(f"next: {one['seq']} {one['topic']}", "", str(one["bytes"]), one["put"])
    show("outbox", facts, table, as_json)


def outbox_show(layout: Layout, seq: int, as_json: bool) -> None:
    from agent.inspect import show, table_of

    facts = ask(layout.socket("uplink", "ctl"), {"verb": "outbox", "seq": seq})
    table = table_of("", "")
    for name, value in {**facts, **_flat(facts["message"] or {})}.items():
        if name != "message":
            table.add_row(name, str(value))
    show("outbox-message", facts, table, as_json)


def _flat(message: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{part}.{name}": value for part, values in message.items() for name, value in values.items()}


def _moment(ms: int | None) -> str | None:
    return None if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
