"""`lykta outbox list|show`: what waits for the broker. The files are the services' alone, so the uplink is asked."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from agent.runtime.control import ask_for
from agent.terminal import show, table_of
from provisioning.layout import Layout


class _Row(Struct, frozen=True):
    """What waits of one class."""

    name: str = field(name="class")
    rows: int
    bytes: int
    oldest: str | None


class _Next(Struct, frozen=True):
    """A message that is sent soon. put: when it was put, as text."""

    outbox: str
    seq: int
    name: str = field(name="class")
    topic: str
    put: str | None
    bytes: int


class _Listed(Struct, frozen=True):
    """The uplink's answer, as `survey` makes it."""

    epoch: str | None
    pending: int
    file_bytes: int
    dropped: dict[str, int]
    classes: tuple[_Row, ...]
    next: tuple[_Next, ...]
    outboxes: tuple[dict[str, Any], ...]
    unreachable: dict[str, str]


class _Shown(Struct, frozen=True):
    """The same for one message."""

    outbox: str
    seq: int
    topic: str
    retain: bool
    expiry_s: int | None
    message: dict[str, dict[str, Any]] | None


def outbox_list(layout: Layout, as_json: bool) -> None:
    facts = ask_for(_Listed, layout.socket("uplink", "ctl"), {"verb": "outbox"})
    table = table_of("class", "waiting", "bytes", "oldest")
    for row in facts.classes:
        table.add_row(row.name, str(row.rows), str(row.bytes), row.oldest or "")
    table.add_row("file", "", str(facts.file_bytes), "")
    for cause, count in facts.dropped.items():
        table.add_row(f"dropped: {cause}", str(count), "", "")
    for one in facts.next:
        table.add_row(f"next: {one.outbox} {one.seq} {one.topic}", "", str(one.bytes), one.put or "")
    for name, why in facts.unreachable.items():
        table.add_row(f"not reached: {name}", "", "", why)
    show("outbox", msgspec.to_builtins(facts), table, as_json)


def outbox_show(layout: Layout, seq: int, outbox: str, as_json: bool) -> None:
    said = ask_for(_Shown, layout.socket("uplink", "ctl"), {"verb": "outbox", "seq": seq, "outbox": outbox})
    facts = msgspec.to_builtins(said)
    table = table_of("", "")
    for name, value in {**facts, **_flat(said.message or {})}.items():
        if name != "message":
            table.add_row(name, str(value))
    show("outbox-message", facts, table, as_json)


def _flat(message: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{part}.{name}": value for part, values in message.items() for name, value in values.items()}
