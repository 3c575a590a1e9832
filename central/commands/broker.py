"""`lykta-central broker`: its options; what it does stands in `central.keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, show

app = typer.Typer(add_completion=False)


@app.command()
def broker(
    keys: KeysFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for broker.conf, broker.acl and what mosquitto keeps")],
    nodes: Annotated[str, typer.Option(help="HOST:PORT where nodes connect")] = "0.0.0.0:8883",
    operators: Annotated[
        str, typer.Option(help="HOST:PORT where operators and lykta-central connect: an address that no node reaches")
    ] = "127.0.0.1:8884",
    user: Annotated[str, typer.Option(help="whom mosquitto becomes when root starts it; else its own default")] = "",
    as_json: Json = False,
) -> None:
    """Write mosquitto's configuration: mutual TLS, each node below its own topics and name, revoked certificates refused, limits.

    KEYS needs only ca.pem, crl.pem, broker.pem and broker.key here, which mosquitto must be able to read; it writes into DIR. After
    `revoke` give it the new crl.pem and a SIGHUP. For instance: lykta-central broker KEYS -o /etc/mosquitto/lykta
    """
    from central.keys.broker import Listeners, write
    from central.keys.bundle import Address

    path = write(keys, output, Listeners(Address.parse(nodes), Address.parse(operators)), user)
    facts = {"config": str(path), "nodes": nodes, "operators": operators}
    show("broker", facts, f"{path}: nodes at {nodes}, operators at {operators}; mosquitto -c {path}", as_json)
