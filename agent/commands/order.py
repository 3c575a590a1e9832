"""`lykta order apply FILE`: an order in a file, from a USB stick. The camera executes it; if that does not run, this command does,
with the rights of the camera's user: root itself only wipes, and does nothing else in that user's folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.clips.custody import Custody
from agent.clips.retention import usual_retention
from agent.commands.options import Json
from agent.runtime.clocks import clock_of
from agent.runtime.control import ask
from agent.runtime.requests import GiveOrder
from agent.runtime.settings_in_force import settings_in_force
from agent.terminal import show, table_of
from drivers import stderr
from privacy.errors import UnreachableError, UsageError
from privacy.files import read
from privacy.records.jws import peek
from privacy.records.order import ANSWER, Answer, verify_order
from provisioning.identity import command_keys, load_signer
from provisioning.layout import Layout
from provisioning.service_user import as_spool_owner

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Signed orders of the centre.")


@app.callback()
def options() -> None:
    """Signed orders of the centre."""


@app.command("apply")
def order_apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="what `lykta-central sign order` made")], as_json: Json = False
) -> None:
    """Obey a signed order that came as a file. 0 done, 1 refused, 5 no order to this node. A wipe is done here, as root."""
    raise typer.Exit(obey(Layout.from_environment(), file, as_json))


def obey(layout: Layout, file: Path, as_json: bool) -> int:
    """Exit code: 0 executed, 1 refused by the node; `RecordError` (exit 5) if it is not for this node."""
    try:
        token = read(file, f"order: {file}")
    except OSError as problem:
        raise UsageError(f"order: {file}: {problem.strerror}", "name the file that `lykta-central sign order` made") from problem
    node = settings_in_force(layout).node
    order = verify_order(token, command_keys(layout), node.site, node.id)
    if order.act == "wipe":
        from agent.root.wipe import wipe_by_order

        return wipe_by_order(layout, token, as_json)
    answer = peek(_obeyed(layout, token), ANSWER, Answer)
    table = table_of("order", "")
    for name, value in msgspec.to_builtins(answer).items():
        table.add_row(name, ", ".join(value) if isinstance(value, list) else str(value))
    show("order", {"answer": msgspec.to_builtins(answer)}, table, as_json)
    return int(answer.result == "refused")


def _obeyed(layout: Layout, token: bytes) -> bytes:
    """The signed answer: the camera's, or, while it does not run, that of the process that keeps the clips."""
    try:
        return ask(layout.socket("camera", "uplink"), GiveOrder(token.decode()), timeout=10).answer.encode()
    except UnreachableError:
        stderr.note("the camera service is away; obeyed here")
    config = settings_in_force(layout)
    clock = clock_of(layout, config)
    signer = load_signer(layout, "retention")
    with as_spool_owner(layout):
        custody = Custody.take(layout, config, clock, "retention", usual_retention(layout), lambda _record: None, signer)
        answer = custody.orders.obey(token)
        custody.outbox.close()
    return answer
