"""The command `lykta-central broker`: writes mosquitto's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, print_result

app = typer.Typer(add_completion=False)


@app.command()
def broker(
    keys: KeysFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for broker.conf, broker.acl and mosquitto's database")],
    nodes: Annotated[str, typer.Option(help="HOST:PORT where nodes connect")] = "0.0.0.0:8883",
    operators: Annotated[
        str, typer.Option(help="HOST:PORT where operators and lykta-central connect; nodes must not reach it")
    ] = "127.0.0.1:8884",
    user: Annotated[str, typer.Option(help="the user that mosquitto runs as when root starts it; by default its own")] = "",
    as_json: Json = False,
) -> None:
    """Write mosquitto's configuration: mutual TLS, own topics for each node, revoked certificates refused, limits.

    Of KEYS only ca.pem, crl.pem, broker.pem and broker.key are needed; mosquitto must be able to read them and write into DIR.
    After `revoke`, copy the new crl.pem and send it a SIGHUP. For instance: lykta-central broker KEYS -o /etc/mosquitto/lykta
    """
    from central.keys.broker import Listeners, write
    from central.keys.bundle import Address

    path = write(keys, output, Listeners(Address.parse(nodes), Address.parse(operators)), user)
    facts = {"config": str(path), "nodes": nodes, "operators": operators}
    print_result("broker", facts, f"{path}: nodes at {nodes}, operators at {operators}; mosquitto -c {path}", as_json)
