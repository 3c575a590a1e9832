"""`lykta view`: the picture of the empty stop, and confirmation of a moved view."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from agent.commands.options import Json
from agent.runtime.control import ask
from agent.runtime.requests import ConfirmView, ShowView
from agent.terminal import show, table_of
from privacy.errors import UsageError
from provisioning.layout import Layout

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="What the camera sees without anybody, and whether it was moved."
)


@app.command("show")
def view_show(
    target: Annotated[Path, typer.Argument(metavar="OUT.jpg", help="where the reference picture goes")], as_json: Json = False
) -> None:
    """Write the reference picture: a median of masked frames, without anybody."""
    layout = Layout.from_environment()
    if not target.parent.is_dir():
        raise UsageError(f"view: {target.parent}: no such folder", "make it first")
    answer = ask(layout.socket("camera", "ctl"), ShowView())
    target.write_bytes(answer.jpeg)
    state = answer.kind or "as known"
    table = table_of("view", "all masked", "picture")
    table.add_row(state, "yes" if answer.hides else "no", str(target))
    show("view", {"view": state, "hides": answer.hides, "picture": str(target)}, table, as_json)


@app.command("confirm")
def view_confirm(as_json: Json = False) -> None:
    """Take the present view of a moved camera for the right one. Compare it with `view show` and the drawn view first."""
    layout = Layout.from_environment()
    ask(layout.socket("camera", "ctl"), ConfirmView(getpass.getuser()))
    table = table_of("view", "")
    table.add_row("confirmed", "its edges are learned anew for a minute; the records in force stay what they are")
    show("view-confirm", {"confirmed": True}, table, as_json)
