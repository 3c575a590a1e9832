"""The command `lykta-central send`: sends a command, an order or a record to one node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from central.commands.options import Json, OfficerName, print_result, refuse_unused
from privacy.errors import UsageError
from privacy.records.command_table import COMMANDS, REASONS

if TYPE_CHECKING:
    from agent.messages import CommandAnswer
    from central.fleet.node_commands import Desk

app = typer.Typer(add_completion=False)


@app.command()
def send(
    keys: Annotated[Path, typer.Argument(help="folder that keygen made")],
    node: Annotated[str, typer.Argument(help="SITE/NODE")],
    name: Annotated[str, typer.Argument(help=f"the command: {', '.join(COMMANDS)}; or order, basis, view, config")],
    broker: Annotated[str, typer.Option(help="HOST:PORT")] = "",
    arg: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated")] = None,
    file: Annotated[Path | None, typer.Option(help="the signed order, basis, view or configuration")] = None,
    wait: Annotated[float, typer.Option(help="a command: seconds to wait for the final answer", min=0, max=3600)] = 30,
    store: Annotated[str, typer.Option(help="order: the ingest's store; the node gets the order at its next upload")] = "",
    officer: OfficerName = "",
    as_json: Json = False,
) -> None:
    """Send a node a signed command over MQTT and print its answers; a command is valid for a minute. ack answers the open call.
    docs/COMMANDS.md lists the commands with their arguments.

    Exit code: 0 done; 1 refused or failed; 2 unknown command, argument or node; 4 no final answer in time, or not connected; 6 you
    may not.

    Example: lykta-central send KEYS linkoping-city/stop-12 restart --arg service=camera --broker HOST:PORT --wait 60

    Or publish a signed basis, view or configuration, retained until it is replaced; or a signed order, which can also go into the
    store."""
    from central.keys.bundle import parse_node_name

    place = parse_node_name(node)
    if name == "order":
        refuse_unused("send", "order", arg=arg)
        _send_order(keys, place, file, broker, store, officer, as_json)
        return
    from central.fleet.node_commands import Desk
    from central.keys.signing import KINDS

    desk = Desk(keys, broker, officer)
    if name in KINDS:
        refuse_unused("send", name, arg=arg, store=store)
        _send_record(desk, place, name, file, as_json)
        return
    refuse_unused("send", f"the command {name}", file=file, store=store)
    _send_command(desk, place, name, arguments(arg or []), wait, as_json)


def _send_record(desk: Desk, place: tuple[str, str], name: str, file: Path | None, as_json: bool) -> None:
    """Publish a signed basis, view or configuration, retained."""
    from agent.messages import topic
    from central.fleet.broker_connection import operator_session
    from central.keys.signing import send_record

    if not (file and desk.broker):
        raise UsageError(f"send: {name}: --file and --broker are needed", f"lykta-central sign {name} makes the file")
    target = topic(*place, name, "desired")
    token = send_record(name, file, desk.keys, place, desk.officer, f"broker {desk.broker}")
    with operator_session(desk.keys, desk.broker) as session:
        session.publish(target, token, retain=True)
    print_result("send", {"topic": target}, f"sent {name} to {'/'.join(place)}", as_json)


def _send_command(desk: Desk, place: tuple[str, str], name: str, args: dict[str, str], wait_s: float, as_json: bool) -> None:
    """Print each answer when it comes, or with --json all of them at the end."""
    from central.fleet.node_commands import check_command, send_command

    check_command(name, args)
    if not desk.broker:
        raise UsageError("send: --broker is needed", "commands are sent over MQTT only")

    def on_answer(answer: CommandAnswer) -> None:
        if not as_json:
            print_result("send", {}, _text(answer), as_json)

    report = send_command(desk, place, name, args, wait_s, on_answer)
    final = report.final
    result, reason = (final.result, final.reason) if final else ("none", "no final answer yet")
    answers = [{"result": one.result, "reason": one.reason, "ref": one.ref} for one in report.answers]
    if as_json or final is None:
        facts = {"topic": report.topic, "id": report.id, "args": report.args, "result": result, "reason": reason}
        print_result("send", facts | {"answers": answers}, f"{name}: no final answer in {wait_s:g} s", as_json)
    if result != "done":
        raise typer.Exit(1 if final else 4)


def _text(answer: CommandAnswer) -> str:
    """An answer as a line: the result, its reason with what to do, and what the command made."""
    reason = f": {answer.reason}" + (f" ({REASONS[answer.reason]})" if answer.reason in REASONS else "") if answer.reason else ""
    return f"{answer.name}: {answer.result}{reason}" + (f" {answer.ref}" if answer.ref else "")


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
