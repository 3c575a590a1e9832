"""`lykta`: the command line of the node. Modules are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.commands.groups import Json, basis, clips, config, journal, layout, order, outbox, view
from agent.services import serve
from privacy.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Lykta: a camera node that masks people before anything is encoded.",
)
_GROUPS = {"outbox": outbox, "clips": clips, "config": config, "basis": basis, "view": view, "order": order, "journal": journal}
for name, group in _GROUPS.items():
    app.add_typer(group, name=name)


@app.callback()
def options(
    context: typer.Context,
    root: Annotated[str, typer.Option(help="folder that all of the node's paths lie under", envvar="LYKTA_ROOT")] = "",
) -> None:
    given = context.get_parameter_source("root")
    if context.invoked_subcommand == "demo" and given and given.name == "COMMANDLINE":
        raise UsageError("demo: --root: has no meaning with it", "its node lies below --dir")
    if root:
        os.environ["LYKTA_ROOT"] = root


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
def retention() -> None:
    """Delete what is past its deadline, free what was received, obey orders: once. systemd's timer runs it."""
    from agent.clips.retention import serve as once

    raise typer.Exit(once(layout()))


@app.command()
def apply(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="signed basis, view or configuration, placed by hand")
    ] = None,
    as_json: Json = False,
    paced: Annotated[
        bool, typer.Option("--paced", help="for the unit: last longer with each run in a row that was of no use")
    ] = False,
) -> None:
    """Verify and place what the centre desires, as root: basis, view, configuration. 0 all placed, 1 something was refused."""
    from agent.root import apply as work

    if paced and files:
        raise UsageError("apply: --paced: is for what the uplink left", "name the files alone")
    raise typer.Exit(work.paced(layout(), as_json) if paced else work.command(layout(), files or [], None, as_json))


@app.command()
def renew(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[UNIT.pem...]", help="certificates that came by hand: tls.pem, camera.pem, …")
    ] = None,
    as_json: Json = False,
) -> None:
    """New keys at two thirds of a certificate's life, as root: made here, wished for, swapped when the certificate has come."""
    from agent.root.renew import command

    raise typer.Exit(command(layout(), files or [], as_json))


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
    from agent.commands.mask.command import Options, command

    options = Options(profile, threads, fps, models, far, give_up)  # type: ignore[arg-type]
    raise typer.Exit(command(paths, out, masks, report, options, force, as_json, background, learn_background))


@app.command()
def status(
    as_json: Json = False, watch: Annotated[bool, typer.Option("--watch", help="again each second, until Ctrl-C")] = False
) -> None:
    """What the three services do, why and since when."""
    from agent.commands.show import status as show

    raise typer.Exit(show(layout(), as_json, watch))


@app.command()
def check(
    groups: Annotated[
        list[str] | None, typer.Argument(help="config, keys, records, camera, models, storage, clock, journal, services, security")
    ] = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit 3 if there are warnings")] = False,
) -> None:
    """Look for what would keep this node from working. Changes nothing."""
    from agent.commands.check.command import command

    raise typer.Exit(command(layout(), groups or [], as_json, strict))


@app.command()
def selftest(
    models: Annotated[Path | None, typer.Option(help="another folder with the model files than the node's")] = None,
    install: Annotated[bool, typer.Option("--install", help="also everything that `lykta check` looks at")] = False,
    report: Annotated[Path | None, typer.Option(help="also write the result as JSON")] = None,
    send: Annotated[bool, typer.Option("--send", help="also let the uplink carry the result to the centre")] = False,
    as_json: Json = False,
) -> None:
    """Show drawn people to the networks and paint them: proves the path, not how many real people are found."""
    from agent.commands.selftest import command

    raise typer.Exit(command(layout(), models, install, report, send, as_json))


@app.command()
def diag(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the JSON file to write")],
    send: Annotated[bool, typer.Option("--send", help="also let the uplink carry it to the centre")] = False,
    as_json: Json = False,
) -> None:
    """One file about this node to attach to an issue: no picture, no clip, no key."""
    from agent.commands.diag import command

    raise typer.Exit(command(layout(), out, send, as_json))


@app.command()
def setup() -> None:
    """The page of a visit: what the camera sees, masked, on one phone, for an hour at most. systemd starts it by the held
    service button; `ssh -L 8080:/run/lykta/setup/page.sock NODE` brings it to http://localhost:8080 there."""
    from agent.setup.service import serve as show

    raise typer.Exit(show(layout()))


@app.command("help-test")
def help_test(as_json: Json = False) -> None:
    """Send a test down the help path, without lamp, alarm or clip: the centre shows whether it came."""
    from agent.commands.show import help_test as show

    show(layout(), as_json)


@app.command()
def link(
    dry: Annotated[bool, typer.Option("--dry-run", help="only say what is due")] = False,
    as_json: Json = False,
) -> None:
    """Get a dead link going again, in rungs: connection, modem, reboot. As root; systemd's timer runs it each minute."""
    from agent.root.link import command

    raise typer.Exit(command(layout(), dry, as_json))


@app.command("seal-keys")
def seal_keys(as_json: Json = False) -> None:
    """Seal a bundle's keys to this machine, as its units load them, and remove the plain ones. As root."""
    from agent.commands.show import seal_keys as show

    show(layout(), as_json)


@app.command("last-word", hidden=True)
def last_word(unit: str) -> None:
    """What systemd's failure hook runs."""
    from agent.runtime.exit_report import leave

    raise typer.Exit(leave(layout(), unit))


@app.command()
def decommission(
    decided: Annotated[str, typer.Option(help="who decided")],
    performed: Annotated[str, typer.Option(help="who does it: another person")],
    case: Annotated[str, typer.Option(help="number of the matter")],
    sure: Annotated[bool, typer.Option("--yes", help="really")] = False,
    as_json: Json = False,
) -> None:
    """Wipe this node: last entry, keys, clips, everything but models and settings; then discard. As root, for ever."""
    from agent.root.wipe import decommission as wipe

    raise typer.Exit(wipe(layout(), decided, performed, case, sure, as_json))
