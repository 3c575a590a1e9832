"""The command `lykta-central bundle`: makes a node's first files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, print_result, refuse_unused
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def bundle(
    keys: KeysFolder,
    node: Annotated[str, typer.Argument(help="SITE/NODE, lower case, digits and hyphens")] = "",
    root: Annotated[Path | None, typer.Option(help="write below this folder: ROOT/etc/lykta")] = None,
    area: Annotated[str, typer.Option(help="City, Skäggetorp, Ryd, Berga or another area")] = "",
    broker: Annotated[str, typer.Option(help="HOST:PORT")] = "",
    ingest: Annotated[str, typer.Option(help="HOST:PORT")] = "",
    trust_only: Annotated[Path | None, typer.Option(help="only rewrite ROOT/etc/lykta/trust, for a node that has its keys")] = None,
    as_json: Json = False,
) -> None:
    """Make a node's keys, certificates, trust files and first lykta.toml.

    Until enrolment exists the keys are made here and are part of the bundle: keep it secret on its way. With --trust-only no secret
    is written: only CA, key sets and recipients, as they are after a key was replaced or retired.
    """
    from central.keys.bundle import Address, refresh_trust
    from central.keys.bundle import bundle as make

    if trust_only:
        refuse_unused("bundle", "--trust-only", node=node, root=root, area=area, broker=broker, ingest=ingest)
        folder = refresh_trust(keys, trust_only)
        print_result("bundle", {"folder": str(folder)}, f"trust of this centre in {folder}", as_json)
        return
    if not (node and root):
        raise UsageError("bundle: SITE/NODE, --root, --area, --broker and --ingest are needed", "or --trust-only ROOT")
    etc = make(keys, node, root, area, Address.parse(broker), Address.parse(ingest))
    print_result("bundle", {"node": node, "folder": str(etc)}, f"bundle of {node} in {etc}", as_json)
