"""`lykta version`."""

from __future__ import annotations

import sys

import typer

from agent.commands.options import Json
from agent.terminal import show, table_of
from provisioning.version import VERSION

app = typer.Typer(add_completion=False)


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        show("version", {"version": VERSION}, table_of("version"), as_json)
    else:
        sys.stdout.write(f"lykta {VERSION}\n")
