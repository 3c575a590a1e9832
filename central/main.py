"""`lykta-central`: the command line of the centre. Modules are imported by the command that needs them."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from central import clip_commands, key_commands
from central.cli import As, Json, Keys, app, show
from privacy.errors import LyktaError, UsageError

__all__ = ["app", "clip_commands", "key_commands", "main"]


RECORDS = ("basis", "view", "config", "order")


@app.command()
def sign(
    record: Annotated[str, typer.Argument(help="basis, view, config or order")],
    source: Annotated[Path | None, typer.Argument(help="the record as JSON")] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="folder that keygen made")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the signed record")] = None,
    example: Annotated[str, typer.Option(help="print a minimal record for SITE/NODE to edit, and sign nothing")] = "",
    name: As = "",
) -> None:
    """Sign a basis or a view, without which a node never opens its camera; settings; or an order, which needs an officer."""
    from central.bundle import split_name
    from privacy.files import place

    if record not in RECORDS:
        raise UsageError(
            f"sign: must be basis, view, config or order (got {record!r})",
            "lykta-central sign basis FILE.json --keys DIR -o basis.jws",
        )
    if example:
        sys.stdout.write(_example(record, *split_name(example)) + "\n")
        return
    if not (source and keys and output):
        raise UsageError("sign: FILE.json, --keys and -o are needed", "or --example SITE/NODE to print one to edit")
    output.parent.mkdir(parents=True, exist_ok=True)
    place(output, _signed(record, source, keys, name))
    sys.stderr.write(f"signed {record}: {output}\n")


def _signed(record: str, source: Path, keys: Path, name: str) -> bytes:
    if record != "order":
        from central.signing import sign_record

        return sign_record(record, source, keys)
    from central.orders import sign_order

    order, token = sign_order(source, keys, name)
    sys.stderr.write(f"order {order.number} for {order.site}/{order.node}: {order.act}\n")
    return token


def _example(record: str, site: str, node: str) -> str:
    import msgspec

    from central import orders, signing

    made = orders.example(site, node) if record == "order" else signing.example(record, site, node)
    return msgspec.json.format(msgspec.json.encode(made), indent=1).decode()


@app.command()
def send(
    keys: Annotated[Path, typer.Argument(help="folder that keygen made")],
    node: Annotated[str, typer.Argument(help="SITE/NODE")],
    name: Annotated[str, typer.Argument(help="the command: ack; or order, basis, view, config")],
    broker: Annotated[str, typer.Option(help="HOST:PORT")] = "",
    arg: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated")] = None,
    file: Annotated[Path | None, typer.Option(help="the signed order, basis, view or configuration")] = None,
    store: Annotated[str, typer.Option(help="order: the ingest's store, from where uploads answer with it")] = "",
    officer: As = "",
    as_json: Json = False,
) -> None:
    """Send a node a signed command over MQTT; it stands for a minute. Or what stands there until it is replaced: a signed basis,
    view or configuration; or a signed order, which is put into the store too."""
    from central.bundle import split_name

    place = split_name(node)
    if name == "order":
        _send_order(keys, place, file, broker, store, officer, as_json)
        return
    from agent.messages import topic
    from central.signing import KINDS, command, signed_record

    if name in KINDS:
        if not (file and broker):
            raise UsageError(f"send: {name}: --file and --broker are needed", f"lykta-central sign {name} makes the file")
        target = topic(*place, name, "desired")
        _publish(keys, broker, target, signed_record(name, file, keys, place), retain=True)
        show("send", {"topic": target}, f"sent {name} to {node}", as_json)
        return
    if not broker:
        raise UsageError("send: --broker is needed", "a command goes over MQTT only")
    token = command(keys, *place, name, arguments(arg or []))
    target = topic(*place, "cmd", name)
    _publish(keys, broker, target, token, retain=False)
    show("send", {"topic": target}, f"sent {name} to {node}", as_json)


def _send_order(
    keys: Path, place: tuple[str, str], file: Path | None, broker: str, store: str, officer: str, as_json: bool
) -> None:
    """Into the store first: what the broker then tells is already kept."""
    from agent.messages import topic
    from central.orders import deposit, send_order

    ways = [f"broker {broker}"] * bool(broker) + [f"store {store}"] * bool(store)
    if not (file and ways):
        raise UsageError("send: order: --file and --broker or --store are needed", "lykta-central sign order makes the file")
    order, token = send_order(file, keys, place, officer, ", ".join(ways))
    facts: dict[str, object] = {"number": order.number}
    if store:
        facts["file"] = deposit(store, order, token)
    if broker:
        facts["topic"] = topic(*place, "order", str(order.number))
        _publish(keys, broker, str(facts["topic"]), token, retain=True)
    show("send", facts, f"sent order {order.number} to {'/'.join(place)}", as_json)


def _publish(keys: Path, broker: str, target: str, token: bytes, *, retain: bool) -> None:
    from central.bundle import Address
    from drivers.mqtt import Credentials, send_once
    from privacy.errors import UnreachableError

    address = Address.parse(broker)
    credentials = Credentials(keys / "ca.pem", keys / "ops.pem", keys / "ops.key")
    name = f"ops-send-{datetime.now().timestamp()}"
    trouble = send_once(name, credentials, (address.host, address.port), target, token, 5, retain=retain)
    if trouble:
        raise UnreachableError(f"send: broker {broker}: {trouble}", "is the broker up, and does it trust ops.pem?")


@app.command()
def ingest(
    keys: Keys,
    store: Annotated[str, typer.Option(help="folder for the objects, or s3://BUCKET[/PREFIX]")],
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="take the objects of this folder, and end")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on")] = 8443,
    journal: Annotated[Path | None, typer.Option(help="the centre's journal; by default KEYS/journal")] = None,
    sweep_once: Annotated[bool, typer.Option(help="delete what is due, and end")] = False,
    as_json: Json = False,
) -> None:
    """Take sealed objects from nodes over mutual TLS, or from DIR, answer with signed receipts, and delete what is due."""
    from central.serving import Serving

    serving = Serving.over(store, keys, journal or keys / "journal")
    if sweep_once:
        show("sweep", *serving.sweep_once(), as_json)
    elif folder:
        facts, text = serving.carry(folder)
        show("ingest", facts, text, as_json)
        if facts["refused"]:
            raise typer.Exit(1)
    else:
        sys.stderr.write(f"ingest on https://{host}:{port}, store {store}\n")
        serving.serve(keys, host, port)


def arguments(pairs: list[str]) -> dict[str, str]:
    """KEY=VALUE words as a dict."""
    for pair in pairs:
        if not pair.partition("=")[1]:
            raise UsageError(f"send: arg: must be KEY=VALUE (got {pair!r})", "for instance --arg light=on")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def main() -> None:
    """Entry point: errors in the words of the design, with their exit code."""
    try:
        app()
    except LyktaError as problem:
        sys.stderr.write(f"error: {problem}\n" + (f"hint: {problem.hint}\n" if problem.hint else ""))
        sys.exit(problem.exit_code)
