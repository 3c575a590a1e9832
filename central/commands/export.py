"""`lykta-central export`: clips handed out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import As, Json, Keys, folder_of, frames_done, show

app = typer.Typer(add_completion=False)


@app.command()
def export(
    clips: Annotated[list[Path], typer.Argument(help="stored clips' folders")],
    keys: Keys,
    ground: Annotated[str, typer.Option(help="crime, accident or data_subject (OSL 32:3)")],
    case: Annotated[str, typer.Option(help="number of the matter")],
    decided: Annotated[str, typer.Option(help="who decided; another person than the officer")],
    to: Annotated[str, typer.Option(help="to whom it is handed")],
    output: Annotated[Path, typer.Option("--output", "-o", help="new folder")],
    offence: Annotated[str, typer.Option(help="for crime: the offence, one that can give prison")] = "",
    name: As = "",
    as_json: Json = False,
) -> None:
    """Hand out clips: plain video, protocol page, and all that stock tools need to check them. Needs an officer who may export."""
    import msgspec

    from central.clips.export import Request
    from central.clips.export import export as make
    from central.clips.export_page import page

    request = Request(ground, offence, case, decided, to)  # type: ignore[arg-type]
    protocol = make([folder_of(clip) for clip in clips], keys, request, name, output, page, frames_done)
    facts = {"folder": str(output), "protocol": msgspec.to_builtins(protocol)}
    show("export", facts, f"handed out {len(protocol.clips)} clips: {output / 'protocol.html'}", as_json)
