"""`lykta-central renew`: its options; what it does stands in `central.keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, show, unused
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def renew(
    keys: KeysFolder,
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE...]", help="wishes: UNIT.renewal.jws of a node")] = None,
    broker: Annotated[str, typer.Option(help="HOST:PORT: take the wishes that stand there, and answer there")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder for SITE/NODE/UNIT.pem")] = None,
    as_json: Json = False,
) -> None:
    """Give nodes the certificates they ask for. Needs the CA's key; refused are strangers, the revoked and the long expired."""
    from central.fleet.renewing import over_broker, to_files

    if broker:
        unused("renew", "--broker", file=files, output=output)
    elif not (files and output):
        raise UsageError("renew: --broker, or FILE and -o are needed", "`lykta renew` on the node leaves UNIT.renewal.jws")
    given, refused = over_broker(keys, broker) if broker else to_files(keys, files or [], output or Path())
    lines = [f"renewed {one}" for one in given] + [f"refused {one}: {why}" for one, why in refused.items()]
    show("renew", {"renewed": given, "refused": refused}, lines or "no wishes", as_json)
    if refused:
        raise typer.Exit(1)
