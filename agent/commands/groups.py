"""The groups of `lykta`'s command line: what is kept on a node, looked at or changed by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

clips = typer.Typer(no_args_is_help=True, help="Sealed clips on this node.")
config = typer.Typer(no_args_is_help=True, help="The node's settings, lykta.toml.")
basis = typer.Typer(no_args_is_help=True, help="The signed records that open the lens.")
order = typer.Typer(no_args_is_help=True, help="Signed orders of the centre.")
journal = typer.Typer(no_args_is_help=True, help="The signed journals of this node's units.")
view = typer.Typer(no_args_is_help=True, help="What the camera sees without anybody, and whether it was moved.")
outbox = typer.Typer(no_args_is_help=True, help="Messages of this node that wait for the broker.")
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def layout() -> Any:
    from provisioning.layout import Layout

    return Layout.from_environment()


@view.command("show")
def view_show(
    target: Annotated[Path, typer.Argument(metavar="OUT.jpg", help="where the reference picture goes")], as_json: Json = False
) -> None:
    """Write the reference picture: a median of masked frames, without anybody."""
    from agent.commands.view import view_show as show

    show(layout(), target, as_json)


@view.command("confirm")
def view_confirm(as_json: Json = False) -> None:
    """Take the present view of a moved camera for the right one. Compare it with `view show` and the drawn view first."""
    from agent.commands.view import view_confirm as confirm

    confirm(layout(), as_json)


@config.command("validate")
def config_validate(
    file: Annotated[Path | None, typer.Argument(help="another file than the node's")] = None, as_json: Json = False
) -> None:
    """Say whether the settings are valid; exit 5 if not."""
    from agent.commands.show import config_validate as show

    show(file or layout().config, as_json)


@config.command("show")
def config_show(as_json: Json = False) -> None:
    """The settings in force, defaults included, and where each comes from."""
    from agent.commands.show import config_show as show

    show(layout(), as_json)


@config.command("apply")
def config_apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="what `lykta-central sign config` made")], as_json: Json = False
) -> None:
    """Lay a signed configuration over lykta.toml, as root. 0 placed, 1 refused."""
    from agent.root.apply import command

    raise typer.Exit(command(layout(), [file], "config", as_json))


@config.command("schema")
def config_schema() -> None:
    """The JSON Schema of lykta.toml."""
    from agent.commands.show import config_schema as show

    show()


@basis.command("show")
def basis_show(as_json: Json = False) -> None:
    """What the basis and the view allow."""
    from agent.commands.show import basis_show as show

    show(layout(), as_json)


@basis.command("verify")
def basis_verify(as_json: Json = False) -> None:
    """Whether the lens may be open now; exit 5 if the records do not allow it at all."""
    from agent.commands.show import basis_verify as show

    show(layout(), as_json)


@clips.command("list")
def clips_list(as_json: Json = False) -> None:
    """All complete clips, oldest first."""
    from agent.commands.show import clips_list as show

    show(layout(), as_json)


@clips.command("show")
def clips_show(clip: str, as_json: Json = False) -> None:
    """The manifest of one clip."""
    from agent.commands.show import clips_show as show

    show(layout(), clip, as_json)


@clips.command("verify")
def clips_verify(
    clip: Annotated[str, typer.Argument(help="one clip; all without it")] = "",
    as_json: Json = False,
) -> None:
    """Signature, chain and hashes of clips; exit 1 if one does not hold."""
    from agent.commands.show import clips_verify as show

    raise typer.Exit(show(layout(), clip, as_json))


@clips.command("copy")
def clips_copy(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a folder on a stick; made if it is not there")],
    as_json: Json = False,
) -> None:
    """Copy sealed clips and closed journal segments to a stick; free those whose receipt has come back on it."""
    from agent.commands.clips_copy import command

    raise typer.Exit(command(layout(), folder, as_json))


@order.command("apply")
def order_apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="what `lykta-central sign order` made")], as_json: Json = False
) -> None:
    """Obey a signed order that came as a file. 0 done, 1 refused, 5 no order to this node. A wipe is done here, as root."""
    from agent.commands.order import command

    raise typer.Exit(command(layout(), file, as_json))


@journal.command("show")
def journal_show(
    unit: Annotated[str, typer.Argument(help="camera, io, uplink or retention; all without it")] = "",
    last: Annotated[int, typer.Option("--last", min=1, help="so many of the newest entries")] = 20,
    as_json: Json = False,
) -> None:
    """The newest entries, verified."""
    from agent.commands.journal import journal_show as show

    show(layout(), unit, last, as_json)


@journal.command("verify")
def journal_verify(as_json: Json = False) -> None:
    """Hold each chain against its signatures and against what the other units noted of it; exit 5 at the first that fails."""
    from agent.commands.journal import journal_verify as show

    show(layout(), as_json)


@outbox.command("list")
def outbox_list(as_json: Json = False) -> None:
    """What waits by class, what is sent next, what was dropped; exit 4 if the uplink is away."""
    from agent.commands.outbox import outbox_list as show

    show(layout(), as_json)


@outbox.command("show")
def outbox_show(
    seq: int,
    name: Annotated[str, typer.Option("--outbox", help="node or io, where both have that number")] = "",
    as_json: Json = False,
) -> None:
    """One message that waits, by its number."""
    from agent.commands.outbox import outbox_show as show

    show(layout(), seq, name, as_json)
