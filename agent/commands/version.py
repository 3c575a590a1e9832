"""`lykta version`."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed

import typer

from agent.commands.options import Json
from agent.terminal import show, table_of

app = typer.Typer(add_completion=False)


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    found = installed("lykta")
    if as_json:
        show("version", {"version": found}, table_of("version"), as_json)
    else:
        sys.stdout.write(f"lykta {found}\n")
