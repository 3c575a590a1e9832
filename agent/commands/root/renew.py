"""`lykta renew`: its options; the implementation is in `agent.root`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.options import Json
from provisioning.layout import Layout

app = typer.Typer(add_completion=False)


@app.command()
def renew(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[UNIT.pem...]", help="certificates that came by hand: tls.pem, camera.pem, …")
    ] = None,
    as_json: Json = False,
) -> None:
    """New keys at two thirds of a certificate's life, as root: made here, wished for, swapped when the certificate has come."""
    from agent.root.renew import command

    raise typer.Exit(command(Layout.from_environment(), files or [], as_json))
