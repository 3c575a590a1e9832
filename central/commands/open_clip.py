"""The command `lykta-central open`: verifies and decrypts one clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, Keys, OfficerName, clip_folder, print_result

app = typer.Typer(add_completion=False)


@app.command("open")
def open_(
    clip: Annotated[Path, typer.Argument(help="a stored clip's folder, or its clip.age")],
    keys: Keys,
    output: Annotated[Path, typer.Option("--output", "-o", help="the video to write, MP4")],
    name: OfficerName = "",
    as_json: Json = False,
) -> None:
    """Verify a clip and decrypt its masked video. Needs an officer with the right `open`; the access log gets an entry first."""
    from central.clips.opening import open_clip
    from central.keys.officers import authorize

    folder = clip_folder(clip)
    verified = open_clip(folder, keys, output, authorize(keys, name, "open", {"clip": folder.name[:80]}))
    print_result(
        "open", {"clip": verified.manifest.clip, "output": str(output)}, f"opened {verified.manifest.clip}: {output}", as_json
    )
