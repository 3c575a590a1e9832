"""`lykta seal-keys`: a bundle's keys, sealed to this machine."""

from __future__ import annotations

import typer

from agent.commands.options import Json
from agent.terminal import show, table_of
from provisioning.layout import Layout

app = typer.Typer(add_completion=False)


@app.command("seal-keys")
def seal_keys(as_json: Json = False) -> None:
    """Seal a bundle's keys to this machine, as its units load them, and remove the plain ones. As root."""
    layout = Layout.from_environment()
    from provisioning.sealing import seal_keys as seal

    sealed = seal(layout)
    table = table_of("sealed to this machine")
    for name in sealed:
        table.add_row(name)
    show("seal-keys", {"sealed": sealed}, table, as_json)
