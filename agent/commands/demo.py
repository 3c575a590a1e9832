"""`lykta demo`: its options; the implementation is in `agent.demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.options import Json

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(min=15, max=3600, help="how long the node runs")] = 60,
    folder: Annotated[Path, typer.Option("--dir", help="folder for everything it makes")] = Path("out/demo"),
    video: Annotated[Path | None, typer.Option(help="another video than the demo's")] = None,
    as_json: Json = False,
) -> None:
    """The whole node and a small centre on this machine."""
    from agent.demo.run import run

    raise typer.Exit(run(seconds, folder, video, as_json))
