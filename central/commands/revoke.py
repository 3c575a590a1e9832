"""The command `lykta-central revoke`: revokes a node's certificates."""

from __future__ import annotations

from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, print_result

app = typer.Typer(add_completion=False)


@app.command()
def revoke(keys: KeysFolder, node: Annotated[str, typer.Argument(help="SITE/NODE")], as_json: Json = False) -> None:
    """Add all certificates of a node to KEYS/crl.pem, for mosquitto's crlfile and the ingest. Needs the CA's key."""
    from central.keys.bundle import parse_node_name
    from central.keys.revoking import revoke as put

    parse_node_name(node)
    count = put(keys, node)
    text = f"{count} certificates of {node} added to {keys / 'crl.pem'}: copy it to the broker and send that SIGHUP"
    print_result("revoke", {"node": node, "revoked": count, "crl": str(keys / "crl.pem")}, text, as_json)
