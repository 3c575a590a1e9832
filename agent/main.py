"""`lykta`: the command line of the node. Modules are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from privacy.errors import LyktaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Lykta: a camera node that masks people before anything is encoded.",
)
clips = typer.Typer(no_args_is_help=True, help="Sealed clips on this node.")
config = typer.Typer(no_args_is_help=True, help="The node's settings, lykta.toml.")
basis = typer.Typer(no_args_is_help=True, help="The signed records that open the lens.")
app.add_typer(clips, name="clips")
app.add_typer(config, name="config")
app.add_typer(basis, name="basis")
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.callback()
def options(
    root: Annotated[str, typer.Option(help="folder that all of the node's paths lie under", envvar="LYKTA_ROOT")] = "",
) -> None:
    if root:
        os.environ["LYKTA_ROOT"] = root


def layout() -> Any:
    from provisioning.layout import Layout

    return Layout.from_environment()


def serve(service: str) -> int:
    code: int = import_module(f"agent.{service}").serve(layout())
    return code


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as of

    sys.stdout.write(f"lykta {of('lykta')}\n")


@app.command()
def camera() -> None:
    """The service that films: captures, masks, encodes, seals. No network."""
    raise typer.Exit(serve("camera"))


@app.command()
def io() -> None:
    """The service that helps: button and lamp. No pixels, no network."""
    raise typer.Exit(serve("io"))


@app.command()
def uplink() -> None:
    """The service that talks: MQTT and upload. No devices."""
    raise typer.Exit(serve("uplink"))


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(min=15, max=3600, help="how long the node runs")] = 60,
    folder: Annotated[Path, typer.Option("--dir", help="folder for everything it makes")] = Path("out/demo"),
    video: Annotated[Path | None, typer.Option(help="another video than the demo's")] = None,
    as_json: Json = False,
) -> None:
    """The whole node and a small centre on this machine."""
    from agent.demo import run

    raise typer.Exit(run(seconds, folder, video, as_json))


@app.command()
def mask(
    source: Annotated[Path, typer.Argument(metavar="IN", help="any video")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="MP4 to write")],
    masks: Annotated[Path | None, typer.Option(help="also write the masks: FFV1 gray, 255 = masked, one a frame")] = None,
    report: Annotated[Path | None, typer.Option(help="also write a report as JSON")] = None,
    profile: Annotated[str, typer.Option(help="standard, strict or full")] = "standard",
    threads: Annotated[int, typer.Option(min=1, max=64)] = 1,
    fps: Annotated[float | None, typer.Option(min=0.1, max=240, help="frames a second, if not what the file says")] = None,
    models: Annotated[Path | None, typer.Option(help="folder with the model files")] = None,
    as_json: Json = False,
) -> None:
    """Mask the people in a video file with the node's own engine."""
    from agent.mask import command

    command(source, target, masks, report, profile, threads, fps, models, as_json)


@app.command()
def status(
    as_json: Json = False, watch: Annotated[bool, typer.Option("--watch", help="again each second, until Ctrl-C")] = False
) -> None:
    """What the three services do, why and since when."""
    from agent.inspect import status as show

    raise typer.Exit(show(layout(), as_json, watch))


@app.command()
def check(
    groups: Annotated[
        list[str] | None, typer.Argument(help="config, keys, records, models, storage, clock, journal, services")
    ] = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit 3 if there are warnings")] = False,
) -> None:
    """Look for what would keep this node from working. Changes nothing."""
    from agent.check import command

    raise typer.Exit(command(layout(), groups or [], as_json, strict))


@config.command("validate")
def config_validate(
    file: Annotated[Path | None, typer.Argument(help="another file than the node's")] = None, as_json: Json = False
) -> None:
    """Say whether the settings are valid; exit 5 if not."""
    from agent.inspect import config_validate as show

    show(file or layout().config, as_json)


@config.command("show")
def config_show(as_json: Json = False) -> None:
    """The settings in force, defaults included."""
    from agent.inspect import config_show as show

    show(layout().config, as_json)


@config.command("schema")
def config_schema() -> None:
    """The JSON Schema of lykta.toml."""
    from agent.inspect import config_schema as show

    show()


@basis.command("show")
def basis_show(as_json: Json = False) -> None:
    """What the basis and the view allow."""
    from agent.inspect import basis_show as show

    show(layout(), as_json)


@basis.command("verify")
def basis_verify(as_json: Json = False) -> None:
    """Whether the lens may be open now; exit 5 if the records do not allow it at all."""
    from agent.inspect import basis_verify as show

    show(layout(), as_json)


@clips.command("list")
def clips_list(as_json: Json = False) -> None:
    """All complete clips, oldest first."""
    from agent.inspect import clips_list as show

    show(layout(), as_json)


@clips.command("show")
def clips_show(clip: str, as_json: Json = False) -> None:
    """The manifest of one clip."""
    from agent.inspect import clips_show as show

    show(layout(), clip, as_json)


@clips.command("verify")
def clips_verify(
    clip: Annotated[str, typer.Argument(help="one clip; all without it")] = "",
    as_json: Json = False,
) -> None:
    """Signature, chain and hashes of clips; exit 1 if one does not hold."""
    from agent.inspect import clips_verify as show

    raise typer.Exit(show(layout(), clip, as_json))


def main() -> None:
    """Entry point: errors in the words of the design, with their exit code."""
    try:
        # Not through typer: it loads pydantic when it parses, 8 MB that a service would keep for its whole life.
        if sys.argv[1:] in (["camera"], ["io"], ["uplink"]):
            sys.exit(serve(sys.argv[1]))
        app()
    except LyktaError as problem:
        sys.stderr.write(f"error: {problem}\n" + (f"hint: {problem.hint}\n" if problem.hint else ""))
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
