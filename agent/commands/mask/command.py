"""`lykta mask`: its options. What it does is loaded only when it runs: networks and codecs are large."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.options import Json

app = typer.Typer(add_completion=False)


@app.command()
def mask(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="IN... OUT",
            help="videos or pictures, then the MP4 to write, a picture (.jpg, .png, .bmp, .tif, .webp) for "
            "one picture, or a folder for NAME.mp4 of each IN; a new folder needs a / at its end",
        ),
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="OUT", help="OUT, where it is not the last word: all words are then IN")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="replace OUT and what else is written if it exists; only plain files, never an IN")
    ] = False,
    masks: Annotated[
        Path | None, typer.Option(help="also write the masks: FFV1 gray, 255 = masked, one a frame (.mkv); a folder if OUT is one")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="also write what --json prints: one object, with a list of files if OUT is a folder")
    ] = None,
    profile: Annotated[str, typer.Option(help="standard, strict or full")] = "standard",
    threads: Annotated[int, typer.Option(min=1, max=64, help="of the decoder, the detector and the encoder")] = 1,
    fps: Annotated[
        float | None, typer.Option(min=0.1, max=240, help="frames a second, instead of the time stamps of the file")
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(metavar="Y", help="mask all above this height, 0 to 1 from the top: where people are too small to be found"),
    ] = None,
    give_up: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="refuse a file that brings no further picture for so long")
    ] = 300,
    background: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="with strict: what the empty place looks like, of --learn-background, same picture size"),
    ] = None,
    learn_background: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="with strict and one IN: also write what was learned of the empty place (a picture of it)"
        ),
    ] = None,
    models: Annotated[Path | None, typer.Option(help="folder with the model files")] = None,
    as_json: Json = False,
) -> None:
    """Mask the people in video files with the node's own engine.

    OUT appears only when it is complete; what exists is replaced with --force only, and no IN ever. Sound, subtitles, chapters,
    title, time and place are not carried over. Example: lykta mask *.mov masked/ --report r.json. Exit codes: 0 done, 1 a file
    could not be masked (the others were), 2 usage, 5 no valid model files.
    """
    from agent.commands.mask.run import Options, command

    options = Options(profile, threads, fps, models, far, give_up)  # type: ignore[arg-type]
    raise typer.Exit(command(paths, out, masks, report, options, force, as_json, background, learn_background))
