"""`lykta help-test`: a test of the help path, from this node to the centre."""

from __future__ import annotations

import typer

from agent.commands.options import Json
from agent.runtime.control import ask
from agent.runtime.requests import TestHelp
from agent.terminal import show, table_of
from provisioning.layout import Layout

app = typer.Typer(add_completion=False)


@app.command("help-test")
def help_test(as_json: Json = False) -> None:
    """Send a test down the help path, without lamp, alarm or clip: the centre shows whether it came."""
    layout = Layout.from_environment()
    name = ask(layout.socket("io", "ctl"), TestHelp()).test
    table = table_of("test", "")
    table.add_row(str(name), "sent: ask the centre whether it came")
    show("help-test", {"test": name}, table, as_json)
