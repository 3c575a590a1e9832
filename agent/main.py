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
order = typer.Typer(no_args_is_help=True, help="Signed orders of the centre.")
journal = typer.Typer(no_args_is_help=True, help="The signed journals of this node's units.")
view = typer.Typer(no_args_is_help=True, help="What the camera sees without anybody, and whether it was moved.")
outbox = typer.Typer(no_args_is_help=True, help="Messages of this node that wait for the broker.")
app.add_typer(outbox, name="outbox")
app.add_typer(clips, name="clips")
app.add_typer(config, name="config")
app.add_typer(basis, name="basis")
app.add_typer(view, name="view")
app.add_typer(order, name="order")
app.add_typer(journal, name="journal")
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
def retention() -> None:
    """Delete what is past its deadline, free what was received, obey orders: once. systemd's timer runs it."""
    from agent.custody import serve as once

    raise typer.Exit(once(layout()))


@app.command()
def apply(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="signed basis, view or configuration, placed by hand")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify and place what the centre desires, as root: basis, view, configuration. 0 all placed, 1 something was refused."""
    from agent.apply import command

    raise typer.Exit(command(layout(), files or [], None, as_json))


@app.command()
def renew(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[UNIT.pem...]", help="certificates that came by hand: tls.pem, camera.pem, …")
    ] = None,
    as_json: Json = False,
) -> None:
    """New keys at two thirds of a certificate's life, as root: made here, wished for, swapped when the certificate has come."""
    from agent.renew import command

    raise typer.Exit(command(layout(), files or [], as_json))


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
    paths: Annotated[
        list[str],
        typer.Argument(metavar="IN... OUT", help="videos or pictures, then the MP4 to write, or a folder for NAME.mp4 of each IN"),
    ],
    masks: Annotated[
        Path | None, typer.Option(help="also write the masks: FFV1 gray, 255 = masked, one a frame; a folder if OUT is one")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="also write what --json prints: one object, with a list of files if OUT is a folder")
    ] = None,
    profile: Annotated[str, typer.Option(help="standard, strict or full")] = "standard",
    threads: Annotated[int, typer.Option(min=1, max=64, help="of the decoder, the detector and the encoder")] = 1,
    fps: Annotated[
        float | None, typer.Option(min=0.1, max=240, help="frames a second, instead of the time stamps of the file")
    ] = None,
    models: Annotated[Path | None, typer.Option(help="folder with the model files")] = None,
    as_json: Json = False,
) -> None:
    """Mask the people in video files with the node's own engine.

    OUT appears only when it is complete; no IN is ever overwritten. Sound, subtitles, chapters, title, time and place are not
    carried over. Exit codes: 0 done, 1 a file could not be masked (the others were), 2 usage, 5 no valid model files.
    """
    from agent.mask import command

    raise typer.Exit(command(paths, masks, report, profile, threads, fps, models, as_json))


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
        list[str] | None, typer.Argument(help="config, keys, records, models, storage, clock, journal, services, security")
    ] = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit 3 if there are warnings")] = False,
) -> None:
    """Look for what would keep this node from working. Changes nothing."""
    from agent.check import command

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
    from agent.self_test import command

    raise typer.Exit(command(layout(), models, install, report, send, as_json))


@app.command()
def diag(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the JSON file to write")],
    send: Annotated[bool, typer.Option("--send", help="also let the uplink carry it to the centre")] = False,
    as_json: Json = False,
) -> None:
    """One file about this node to attach to an issue: no picture, no clip, no key."""
    from agent.diag import command

    raise typer.Exit(command(layout(), out, send, as_json))


@view.command("show")
def view_show(
    target: Annotated[Path, typer.Argument(metavar="OUT.jpg", help="where the reference picture goes")], as_json: Json = False
) -> None:
    """Write the reference picture: a median of masked frames, without anybody."""
    from agent.view import view_show as show

    show(layout(), target, as_json)


@view.command("confirm")
def view_confirm(as_json: Json = False) -> None:
    """Take the present view of a moved camera for the right one. Compare it with `view show` and the drawn view first."""
    from agent.view import view_confirm as confirm

    confirm(layout(), as_json)


@config.command("validate")
def config_validate(
    file: Annotated[Path | None, typer.Argument(help="another file than the node's")] = None, as_json: Json = False
) -> None:
    """Say whether the settings are valid; exit 5 if not."""
    from agent.inspect import config_validate as show

    show(file or layout().config, as_json)


@config.command("show")
def config_show(as_json: Json = False) -> None:
    """The settings in force, defaults included, and where each comes from."""
    from agent.inspect import config_show as show

    show(layout(), as_json)


@config.command("apply")
def config_apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="what `lykta-central sign config` made")], as_json: Json = False
) -> None:
    """Lay a signed configuration over lykta.toml, as root. 0 placed, 1 refused."""
    from agent.apply import command

    raise typer.Exit(command(layout(), [file], "config", as_json))


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


@clips.command("copy")
def clips_copy(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a folder on a stick; made if it is not there")],
    as_json: Json = False,
) -> None:
    """Copy sealed clips and closed journal segments to a stick; free those whose receipt has come back on it."""
    from agent.copying import command

    raise typer.Exit(command(layout(), folder, as_json))


@order.command("apply")
def order_apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="what `lykta-central sign order` made")], as_json: Json = False
) -> None:
    """Obey a signed order that came as a file. 0 done, 1 refused, 5 no order to this node. A wipe is done here, as root."""
    from agent.order_apply import command

    raise typer.Exit(command(layout(), file, as_json))


@journal.command("show")
def journal_show(
    unit: Annotated[str, typer.Argument(help="camera, io, uplink or retention; all without it")] = "",
    last: Annotated[int, typer.Option("--last", min=1, help="so many of the newest entries")] = 20,
    as_json: Json = False,
) -> None:
    """The newest entries, verified."""
    from agent.journal_view import journal_show as show

    show(layout(), unit, last, as_json)


@journal.command("verify")
def journal_verify(as_json: Json = False) -> None:
    """Hold each chain against its signatures and against what the other units noted of it; exit 5 at the first that fails."""
    from agent.journal_view import journal_verify as show

    show(layout(), as_json)


@outbox.command("list")
def outbox_list(as_json: Json = False) -> None:
    """What waits by class, what is sent next, what was dropped; exit 4 if the uplink is away."""
    from agent.outbox_view import outbox_list as show

    show(layout(), as_json)


@outbox.command("show")
def outbox_show(seq: int, as_json: Json = False) -> None:
    """One message that waits, by its number."""
    from agent.outbox_view import outbox_show as show

    show(layout(), seq, as_json)


@app.command("help-test")
def help_test(as_json: Json = False) -> None:
    """Send a test down the help path, without lamp, alarm or clip: the centre shows whether it came."""
    from agent.inspect import help_test as show

    show(layout(), as_json)


@app.command()
def link(dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what is due")] = False, as_json: Json = False) -> None:
    """Get a dead link going again, as root each minute: reconnect, modem, restart of the node. 1 if a rung failed."""
    from agent.link import command

    raise typer.Exit(command(layout(), dry_run, as_json))


@app.command("seal-keys")
def seal_keys(as_json: Json = False) -> None:
    """Seal a bundle's keys to this machine, as its units load them, and remove the plain ones. As root."""
    from agent.inspect import seal_keys as show

    show(layout(), as_json)


@app.command("last-word", hidden=True)
def last_word(unit: str) -> None:
    """What systemd's failure hook runs."""
    from agent.last_word import leave

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
    from agent.wiping import decommission as wipe

    raise typer.Exit(wipe(layout(), decided, performed, case, sure, as_json))


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
