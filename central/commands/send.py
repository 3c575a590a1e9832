"""The command `lykta-central send`: sends a command, an order or a record to one node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, OfficerName, as_option, print_result, refuse_unused
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def send(
    keys: Annotated[Path, typer.Argument(help="folder that keygen made")],
    node: Annotated[str, typer.Argument(help="SITE/NODE")],
    name: Annotated[str, typer.Argument(help="the command: ack or light; or order, basis, view, config")],
    broker: Annotated[str, typer.Option(help="HOST:PORT")] = "",
    arg: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated")] = None,
    file: Annotated[Path | None, typer.Option(help="the signed order, basis, view or configuration")] = None,
    store: Annotated[str, typer.Option(help="order: the ingest's store; the node gets the order at its next upload")] = "",
    officer: OfficerName = "",
    as_json: Json = False,
) -> None:
    """Send a node a signed command over MQTT and print its answer; a command is valid for a minute. ack answers the open call;
    light has --arg state=on|off and --arg minutes=N.

    Or publish a signed basis, view or configuration, retained until it is replaced; or a signed order, which can also go into the
    store."""
    from central.keys.bundle import parse_node_name

    place = parse_node_name(node)
    if name == "order":
        refuse_unused("send", "order", arg=arg)
        _send_order(keys, place, file, broker, store, officer, as_json)
        return
    from agent.messages import topic
    from central.fleet.broker_connection import operator_session
    from central.keys.signing import KINDS, read_signed_record

    if name in KINDS:
        if not (file and broker):
            raise UsageError(f"send: {name}: --file and --broker are needed", f"lykta-central sign {name} makes the file")
        refuse_unused("send", name, arg=arg, store=store, **as_option(officer))
        target, token = topic(*place, name, "desired"), read_signed_record(name, file, keys, place)
        with operator_session(keys, broker) as session:
            session.publish(target, token, retain=True)
        print_result("send", {"topic": target}, f"sent {name} to {node}", as_json)
        return
    refuse_unused("send", f"the command {name}", file=file, store=store, **as_option(officer))
    _send_command(keys, broker, place, name, arguments(arg or []), as_json)


def _send_command(keys: Path, broker: str, place: tuple[str, str], name: str, args: dict[str, str], as_json: bool) -> None:
    from central.fleet.node_commands import send_command

    if not broker:
        raise UsageError("send: --broker is needed", "commands are sent over MQTT only")
    facts = send_command(keys, broker, place, name, args)
    came = {"done": "done", "refused": f"refused: {facts['reason']}", "none": "no answer yet"}[facts["result"]]
    print_result("send", facts, f"sent {name} to {'/'.join(place)}: {came}", as_json)
    if facts["result"] == "refused":
        raise typer.Exit(1)


def _send_order(
    keys: Path, place: tuple[str, str], file: Path | None, broker: str, store: str, officer: str, as_json: bool
) -> None:
    """The order goes into the store first, so that it is kept before the broker delivers it."""
    from agent.messages import topic
    from central.fleet.broker_connection import operator_session
    from central.ingest.orders import put_in_store, send_order

    ways = [f"broker {broker}"] * bool(broker) + [f"store {store}"] * bool(store)
    if not (file and ways):
        raise UsageError("send: order: --file and --broker or --store are needed", "lykta-central sign order makes the file")
    order, token = send_order(file, keys, place, officer, ", ".join(ways))
    facts: dict[str, object] = {"number": order.number}
    if store:
        facts["file"] = put_in_store(store, order, token)
    if broker:
        facts["topic"] = topic(*place, "order", str(order.number))
        with operator_session(keys, broker) as session:
            session.publish(str(facts["topic"]), token, retain=True)
    print_result("send", facts, f"sent order {order.number} to {'/'.join(place)}", as_json)


def arguments(pairs: list[str]) -> dict[str, str]:
    """KEY=VALUE arguments as a dict."""
    for pair in pairs:
        if not pair.partition("=")[1]:
            raise UsageError(f"send: arg: must be KEY=VALUE (got {pair!r})", "for instance --arg state=on")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
