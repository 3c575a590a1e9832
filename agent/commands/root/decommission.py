"""`lykta decommission`: its options; the implementation is in `agent.root`."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.commands.options import Json
from provisioning.layout import Layout

app = typer.Typer(add_completion=False)


@app.command()
def decommission(
    decided: Annotated[str, typer.Option(help="who decided")],
    performed: Annotated[str, typer.Option(help="who does it: another person")],
    case: Annotated[str, typer.Option(help="number of the matter")],
    sure: Annotated[bool, typer.Option("--yes", help="really")] = False,
    as_json: Json = False,
) -> None:
    """Wipe this node: last entry, keys, clips, everything but models and settings; then discard. As root, for ever."""
    from agent.root.wipe import decommission as wipe

    raise typer.Exit(wipe(Layout.from_environment(), decided, performed, case, sure, as_json))
