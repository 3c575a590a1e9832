"""`lykta-central`: the command line of the centre. Modules are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from central.commands import clips as clip_commands
from central.commands import keys as key_commands
from central.commands.options import As, Json, Keys, app, given_as, show, tell, unused
from drivers.command_line import ended
from privacy.errors import RecordError, UsageError

if TYPE_CHECKING:
    from central.keys.review import Objection

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
    yes: Annotated[bool, typer.Option("--yes", help="sign also what is over already, or shows the whole picture")] = False,
) -> None:
    """Sign a basis or a view, without which a node never opens its camera; settings; or an order, which needs an officer.

    An older signed record at -o is replaced, no other file.
    """
    from central.keys.bundle import split_name
    from privacy.files import OPEN, PUBLIC, make_folder, place

    if record not in RECORDS:
        raise UsageError(
            f"sign: must be basis, view, config or order (got {record!r})",
            "lykta-central sign basis FILE.json --keys DIR -o basis.jws",
        )
    if example:
        unused("sign", "--example", file=source, keys=keys, output=output, yes=yes, **given_as(name))
        sys.stdout.write(_example(record, *split_name(example)) + "\n")
        return
    if not (source and keys and output):
        raise UsageError("sign: FILE.json, --keys and -o are needed", "or --example SITE/NODE to print one to edit")
    if record != "order":
        unused("sign", record, **given_as(name))
    _check_replaceable(output, record)
    make_folder(output.parent, OPEN)
    place(output, _signed(record, source, keys, name, yes), mode=PUBLIC)
    tell(f"signed {record}: {output}")


def _check_replaceable(output: Path, record: str) -> None:
    """`UsageError` where something stands that is no signed record of this kind: a key, the file to be signed, another record."""
    from privacy.files import read_own
    from privacy.records.jws import kind_of

    try:
        found = kind_of(read_own(output))
    except FileNotFoundError:
        return
    except OSError:
        found = ""
    if found != f"lykta-{record}":
        raise UsageError(f"sign: -o: {output} exists and is no signed {record}", "name a new file")


def _signed(record: str, source: Path, keys: Path, name: str, yes: bool) -> bytes:
    def settle(objections: list[Objection]) -> None:
        for one in objections:
            if not one.asks:
                raise RecordError(one.text, one.hint)
            if not (yes or (sys.stdin.isatty() and typer.confirm(f"{one.text}. Sign it?", err=True))):
                raise RecordError(one.text, f"{one.hint}; --yes signs it all the same")

    if record != "order":
        from central.keys.signing import sign_record

        return sign_record(record, source, keys, settle)
    from central.ingest.orders import sign_order

    order, token = sign_order(source, keys, name, settle)
    tell(f"order {order.number} for {order.site}/{order.node}: {order.act}")
    return token


def _example(record: str, site: str, node: str) -> str:
    import msgspec

    from central.ingest import orders
    from central.keys import signing

    made = orders.example(site, node) if record == "order" else signing.example(record, site, node)
    return msgspec.json.format(msgspec.json.encode(made), indent=1).decode()


@app.command()
def send(
    keys: Annotated[Path, typer.Argument(help="folder that keygen made")],
    node: Annotated[str, typer.Argument(help="SITE/NODE")],
    name: Annotated[str, typer.Argument(help="the command: ack or light; or order, basis, view, config")],
    broker: Annotated[str, typer.Option(help="HOST:PORT")] = "",
    arg: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated")] = None,
    file: Annotated[Path | None, typer.Option(help="the signed order, basis, view or configuration")] = None,
    store: Annotated[str, typer.Option(help="order: the ingest's store, from where uploads answer with it")] = "",
    officer: As = "",
    as_json: Json = False,
) -> None:
    """Send a node a signed command over MQTT, and say what came of it; it stands for a minute. ack takes the call that stands;
    light has --arg state=on|off and --arg minutes=N.

    Or what stands there until it is replaced: a signed basis, view or configuration; or a signed order, which is put into the store
    too."""
    from central.keys.bundle import split_name

    place = split_name(node)
    if name == "order":
        unused("send", "order", arg=arg)
        _send_order(keys, place, file, broker, store, officer, as_json)
        return
    from agent.messages import topic
    from central.fleet.broker_connection import operator
    from central.keys.signing import KINDS, signed_record

    if name in KINDS:
        if not (file and broker):
            raise UsageError(f"send: {name}: --file and --broker are needed", f"lykta-central sign {name} makes the file")
        unused("send", name, arg=arg, store=store, **given_as(officer))
        target, token = topic(*place, name, "desired"), signed_record(name, file, keys, place)
        with operator(keys, broker) as session:
            session.publish(target, token, retain=True)
        show("send", {"topic": target}, f"sent {name} to {node}", as_json)
        return
    unused("send", f"the command {name}", file=file, store=store, **given_as(officer))
    _send_command(keys, broker, place, name, arguments(arg or []), as_json)


def _send_command(keys: Path, broker: str, place: tuple[str, str], name: str, args: dict[str, str], as_json: bool) -> None:
    from central.fleet.node_commands import send_command

    if not broker:
        raise UsageError("send: --broker is needed", "a command goes over MQTT only")
    facts = send_command(keys, broker, place, name, args)
    came = {"done": "done", "refused": f"refused: {facts['reason']}", "none": "no answer yet"}[facts["result"]]
    show("send", facts, f"sent {name} to {'/'.join(place)}: {came}", as_json)
    if facts["result"] == "refused":
        raise typer.Exit(1)


def _send_order(
    keys: Path, place: tuple[str, str], file: Path | None, broker: str, store: str, officer: str, as_json: bool
) -> None:
    """Into the store first: what the broker then tells is already kept."""
    from agent.messages import topic
    from central.fleet.broker_connection import operator
    from central.ingest.orders import deposit, send_order

    ways = [f"broker {broker}"] * bool(broker) + [f"store {store}"] * bool(store)
    if not (file and ways):
        raise UsageError("send: order: --file and --broker or --store are needed", "lykta-central sign order makes the file")
    order, token = send_order(file, keys, place, officer, ", ".join(ways))
    facts: dict[str, object] = {"number": order.number}
    if store:
        facts["file"] = deposit(store, order, token)
    if broker:
        facts["topic"] = topic(*place, "order", str(order.number))
        with operator(keys, broker) as session:
            session.publish(str(facts["topic"]), token, retain=True)
    show("send", facts, f"sent order {order.number} to {'/'.join(place)}", as_json)


@app.command()
def ingest(
    keys: Keys,
    store: Annotated[str, typer.Option(help="folder for the objects, or s3://BUCKET/PREFIX (PREFIX may be left out)")],
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="take the objects of this folder, and end")] = None,
    host: Annotated[str, typer.Option(help="address to listen on", show_default="127.0.0.1")] = "",
    port: Annotated[int | None, typer.Option(help="port to listen on", min=1, max=65535, show_default="8443")] = None,
    journal: Annotated[Path | None, typer.Option(help="the centre's journal; by default KEYS/journal")] = None,
    sweep_once: Annotated[bool, typer.Option(help="delete what is due, and end")] = False,
    as_json: Json = False,
) -> None:
    """Take sealed objects from nodes over mutual TLS, or from DIR, answer with signed receipts, and delete what is due."""
    from central.commands.ingest import Serving

    if folder and sweep_once:
        raise UsageError("ingest: DIR: has no meaning with --sweep-once", "run it once for each")
    if folder or sweep_once:
        unused("ingest", "--sweep-once" if sweep_once else "DIR", host=host, port=port)
    else:
        unused("ingest", "nodes that are served", json=as_json)
    serving = Serving.over(store, keys, journal or keys / "journal")
    if sweep_once:
        facts, text = serving.sweep_once()
        show("sweep", facts, text, as_json)
        if facts["failed"]:
            raise typer.Exit(1)
    elif folder:
        facts, text = serving.carry(folder)
        show("ingest", facts, text, as_json)
        if facts["refused"]:
            raise typer.Exit(1)
    else:
        where = (host or "127.0.0.1", port or 8443)
        tell(f"ingest on https://{where[0]}:{where[1]}, store {store}")
        serving.serve(keys, *where)


def arguments(pairs: list[str]) -> dict[str, str]:
    """KEY=VALUE words as a dict."""
    for pair in pairs:
        if not pair.partition("=")[1]:
            raise UsageError(f"send: arg: must be KEY=VALUE (got {pair!r})", "for instance --arg state=on")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def main() -> None:
    """Entry point: errors in the words of the design, with their exit code."""
    # Nothing is for everybody to write, whoever starts it.
    os.umask(os.umask(0o077) | 0o022)
    sys.exit(ended(app))
