"""The command `lykta-central renew`: renews nodes' certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, print_result, refuse_unused
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def renew(
    keys: KeysFolder,
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE...]", help="requests: UNIT.renewal.jws of a node")] = None,
    broker: Annotated[str, typer.Option(help="HOST:PORT: answer the requests at this broker, there")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder for SITE/NODE/UNIT.pem")] = None,
    as_json: Json = False,
) -> None:
    """Renew certificates that nodes request. Needs the CA's key. Refused: unknown, revoked and long expired ones."""
    from central.fleet.renewing import renew_from_files, renew_over_broker

    if broker:
        refuse_unused("renew", "--broker", file=files, output=output)
    elif not (files and output):
        raise UsageError("renew: --broker, or FILE and -o are needed", "`lykta renew` on the node leaves UNIT.renewal.jws")
    given, refused = renew_over_broker(keys, broker) if broker else renew_from_files(keys, files or [], output or Path())
    lines = [f"renewed {one}" for one in given] + [f"refused {one}: {why}" for one, why in refused.items()]
    print_result("renew", {"renewed": given, "refused": refused}, lines or "no requests", as_json)
    if refused:
        raise typer.Exit(1)
