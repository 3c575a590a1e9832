"""`lykta-central revoke`: its options; what it does stands in `central.keys`."""

from __future__ import annotations

from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, show

app = typer.Typer(add_completion=False)


@app.command()
def revoke(keys: KeysFolder, node: Annotated[str, typer.Argument(help="SITE/NODE")], as_json: Json = False) -> None:
    """Put all certificates of a node on KEYS/crl.pem, for mosquitto's crlfile and the ingest. Needs the CA's key."""
    from central.keys.bundle import split_name
    from central.keys.revoking import revoke as put

    split_name(node)
    count = put(keys, node)
    text = f"{count} certificates of {node} are new on {keys / 'crl.pem'}: give it to the broker and have it read it (SIGHUP)"
    show("revoke", {"node": node, "revoked": count, "crl": str(keys / "crl.pem")}, text, as_json)
