"""The command `lykta-central export`: hands out clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, Keys, OfficerName, clip_folder, print_progress, print_result

app = typer.Typer(add_completion=False)


@app.command()
def export(
    clips: Annotated[list[Path], typer.Argument(help="stored clips' folders")],
    keys: Keys,
    ground: Annotated[str, typer.Option(help="crime, accident or data_subject (OSL 32:3)")],
    case: Annotated[str, typer.Option(help="number of the matter")],
    decided: Annotated[str, typer.Option(help="who decided; not the officer")],
    to: Annotated[str, typer.Option(help="to whom it is handed")],
    output: Annotated[Path, typer.Option("--output", "-o", help="new folder")],
    offence: Annotated[str, typer.Option(help="for crime: the offence, one that can give prison")] = "",
    name: OfficerName = "",
    as_json: Json = False,
) -> None:
    """Hand out clips: plain video, protocol page, and all that standard tools need to check both. Needs the right `export`."""
    import msgspec

    from central.clips.export import ExportRequest
    from central.clips.export import export as make
    from central.clips.export_page import page

    request = ExportRequest(ground, offence, case, decided, to)  # type: ignore[arg-type]
    protocol = make([clip_folder(clip) for clip in clips], keys, request, name, output, page, print_progress)
    facts = {"folder": str(output), "protocol": msgspec.to_builtins(protocol)}
    print_result("export", facts, f"handed out {len(protocol.clips)} clips: {output / 'protocol.html'}", as_json)
