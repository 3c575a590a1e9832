"""`lykta mask`: its options. What it does is loaded only when it runs: networks and codecs are large."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.options import Json

app = typer.Typer(add_completion=False)

_Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="IN... OUT",
        help="videos or pictures, then the MP4 to write, a picture (.jpg, .png, .bmp, .tif, .webp) for "
        "one picture, or a folder for NAME.mp4 of each IN; a new folder needs a / at its end",
    ),
]
_Out = Annotated[str, typer.Option("-o", "--out", metavar="OUT", help="OUT, where it is not the last word: all words are then IN")]
_Force = Annotated[
    bool, typer.Option("--force", help="replace OUT and what else is written if it exists; only plain files, never an IN")
]
_Masks = Annotated[
    Path | None, typer.Option(help="also write the masks: FFV1 gray, 255 = masked, one a frame (.mkv); a folder if OUT is one")
]
_Report = Annotated[
    Path | None, typer.Option(help="also write what --json prints: one object, with a list of files if OUT is a folder")
]
_Profile = Annotated[str, typer.Option(help="standard, strict or full")]
_Threads = Annotated[int, typer.Option(min=1, max=64, help="of the decoder, the detector and the encoder")]
_Fps = Annotated[float | None, typer.Option(min=0.1, max=240, help="frames a second, instead of the time stamps of the file")]
_Far = Annotated[
    float | None,
    typer.Option(metavar="Y", help="mask all above this height, 0 to 1 from the top: where people are too small to be found"),
]
_GiveUp = Annotated[int, typer.Option(min=1, metavar="SECONDS", help="refuse a file that brings no further picture for so long")]
_Background = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="with strict: what the empty place looks like, of --learn-background, same picture size"),
]
_LearnBackground = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="with strict and one IN: also write what was learned of the empty place (a picture of it)"),
]
_Models = Annotated[Path | None, typer.Option(help="folder with the model files")]


@app.command()
def mask(
    paths: _Paths,
    out: _Out = "",
    force: _Force = False,
    masks: _Masks = None,
    report: _Report = None,
    profile: _Profile = "standard",
    threads: _Threads = 1,
    fps: _Fps = None,
    far: _Far = None,
    give_up: _GiveUp = 300,
    background: _Background = None,
    learn_background: _LearnBackground = None,
    models: _Models = None,
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
