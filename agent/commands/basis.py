"""`lykta basis`: the signed records, and whether they let the lens be open now."""

from __future__ import annotations

import msgspec
import typer

from agent.commands.options import Json
from agent.runtime.clocks import clock_of
from agent.runtime.settings_in_force import effective
from agent.terminal import show, table_of
from privacy.records.basis import rule
from provisioning.identity import load_permit, load_records
from provisioning.layout import Layout

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The signed records that open the lens.")


@app.command("show")
def basis_show(as_json: Json = False) -> None:
    """What the basis and the view allow."""
    layout = Layout.from_environment()
    basis, view = load_records(layout)
    table = table_of("", "")
    for name, value in msgspec.to_builtins(basis).items():
        table.add_row(f"basis.{name}", str(value))
    for name, value in msgspec.to_builtins(view).items():
        table.add_row(f"view.{name}", str(value))
    show("basis", {"basis": msgspec.to_builtins(basis), "view": msgspec.to_builtins(view)}, table, as_json)


@app.command("verify")
def basis_verify(as_json: Json = False) -> None:
    """Whether the lens may be open now; exit 5 if the records do not allow it at all."""
    layout = Layout.from_environment()
    config = effective(layout).config
    node, mask = config.node, config.mask
    permit = load_permit(layout, node.site, node.id, mask.profile, mask.stack)
    clock = clock_of(layout, config)
    ruling = rule(permit.basis, clock.now(), clock.trusted())
    table = table_of("", "")
    table.add_row("records", f"good: basis {permit.basis.id}, view {permit.view.id}")
    table.add_row("lens now", "may be open" if ruling.open else f"closed: {ruling.reason}")
    table.add_row("until", str(ruling.until or ""))
    facts = {"valid": True, "open": ruling.open, "reason": ruling.reason, "until": ruling.until}
    show("basis-verify", facts, table, as_json)
