"""`lykta apply`: its options; the implementation is in `agent.root`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.options import Json
from privacy.errors import UsageError
from provisioning.layout import Layout

app = typer.Typer(add_completion=False)


@app.command()
def apply(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="signed basis, view or configuration, placed by hand")
    ] = None,
    as_json: Json = False,
    paced: Annotated[
        bool, typer.Option("--paced", help="for the unit: last longer with each run in a row that was of no use")
    ] = False,
) -> None:
    """Verify and place what the centre desires, as root: basis, view, configuration. 0 all placed, 1 something was refused."""
    from agent.root import apply as work

    if paced and files:
        raise UsageError("apply: --paced: is for what the uplink left", "name the files alone")
    layout = Layout.from_environment()
    raise typer.Exit(work.paced(layout, as_json) if paced else work.command(layout, files or [], None, as_json))
