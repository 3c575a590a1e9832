"""`lykta link`: its options; the implementation is in `agent.root`."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.commands.options import Json
from provisioning.layout import Layout

app = typer.Typer(add_completion=False)


@app.command()
def link(
    dry: Annotated[bool, typer.Option("--dry-run", help="only say what is due")] = False,
    as_json: Json = False,
) -> None:
    """Get a dead link going again, in rungs: connection, modem, reboot. As root; systemd's timer runs it each minute."""
    from agent.root.link import command

    raise typer.Exit(command(Layout.from_environment(), dry, as_json))
