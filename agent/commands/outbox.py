"""`lykta outbox`: messages that wait for the broker. Only the services may open the files, so the uplink is asked."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from agent.commands.options import Json
from agent.runtime.control import ask
from agent.runtime.requests import ShowMessage, SurveyOutboxes
from agent.terminal import show, table_of
from provisioning.layout import Layout

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Messages of this node that wait for the broker.")


@app.command("list")
def outbox_list(as_json: Json = False) -> None:
    """What waits by class, what is sent next, what was dropped; exit 4 if the uplink is away."""
    layout = Layout.from_environment()
    facts = ask(layout.socket("uplink", "ctl"), SurveyOutboxes())
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


@app.command("show")
def outbox_show(
    seq: int,
    name: Annotated[str, typer.Option("--outbox", help="node or io, where both have that number")] = "",
    as_json: Json = False,
) -> None:
    """One message that waits, by its number."""
    layout = Layout.from_environment()
    said = ask(layout.socket("uplink", "ctl"), ShowMessage(seq, name))
    facts = msgspec.to_builtins(said)
    table = table_of("", "")
    for fact, value in {**facts, **_flat(said.message or {})}.items():
        if fact != "message":
            table.add_row(fact, str(value))
    show("outbox-message", facts, table, as_json)


def _flat(message: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{part}.{name}": value for part, values in message.items() for name, value in values.items()}
