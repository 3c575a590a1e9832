"""The command `lykta-central man`: prints the manual page."""

from __future__ import annotations

import sys

import typer

from drivers.man_page import man_page

app = typer.Typer(add_completion=False)


@app.command()
def man() -> None:
    """Print the manual page: `lykta-central man | man -l -`."""
    from central.commands.main import app as program

    sys.stdout.write(man_page(program, "lykta-central"))
