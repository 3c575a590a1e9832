"""`lykta-central open`: one clip, verified and decrypted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import As, Json, Keys, folder_of, show

app = typer.Typer(add_completion=False)


@app.command("open")
def open_(
    clip: Annotated[Path, typer.Argument(help="a stored clip's folder, or its clip.age")],
    keys: Keys,
    output: Annotated[Path, typer.Option("--output", "-o", help="the video to write, MP4")],
    name: As = "",
    as_json: Json = False,
) -> None:
    """Verify a clip and decrypt its masked video. Needs an officer who may open; the access log has it first."""
    from central.clips.opening import open_clip
    from central.keys.officers import admit

    folder = folder_of(clip)
    verified = open_clip(folder, keys, output, admit(keys, name, "open", {"clip": folder.name[:80]}))
    show("open", {"clip": verified.manifest.clip, "output": str(output)}, f"opened {verified.manifest.clip}: {output}", as_json)
