"""`lykta order apply FILE`: an order that came on a stick. The camera obeys it; while it is away, this command does, as root."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from agent.clocks import clock_of
from agent.control import ask
from agent.custody import Custody, usual_retention
from agent.inspect import show, table_of
from agent.overlay import settings_in_force
from privacy.errors import UnreachableError, UsageError
from privacy.order import ANSWER, Answer, verify_order
from privacy.records import peek
from provisioning.identity import command_keys
from provisioning.layout import Layout


def command(layout: Layout, file: Path, as_json: bool) -> int:
    """0 if it was obeyed, 1 if the node refuses it; `RecordError` (exit 5) if it is no order to this node."""
    try:
        token = file.read_bytes()
    except OSError as problem:
        raise UsageError(f"order: {file}: {problem.strerror}", "name the file that `lykta-central sign order` made") from problem
    node = settings_in_force(layout).node
    order = verify_order(token, command_keys(layout), node.site, node.id)
    if order.act == "wipe":
        from agent.wiping import wipe_by_order

        return wipe_by_order(layout, token, as_json)
    answer = peek(_obeyed(layout, token), ANSWER, Answer)
    table = table_of("order", "")
    for name, value in msgspec.to_builtins(answer).items():
        table.add_row(name, ", ".join(value) if isinstance(value, list) else str(value))
    show("order", {"answer": msgspec.to_builtins(answer)}, table, as_json)
    return int(answer.result == "refused")


def _obeyed(layout: Layout, token: bytes) -> bytes:
    """The signed answer: the camera's, or that of whoever has the clips in hand while it is away."""
    try:
        return str(ask(layout.socket("camera", "uplink"), {"verb": "order", "jws": token.decode()}, timeout=10)["answer"]).encode()
    except UnreachableError:
        sys.stderr.write("note: the camera service is away; obeyed here\n")
    config = settings_in_force(layout)
    clock = clock_of(layout, config)
    try:
        custody = Custody.take(layout, config, clock, "retention", usual_retention(layout), lambda _record: None)
        answer = custody.orders.obey(token)
        custody.outbox.close()
        return answer
    finally:
        _give_back(layout)


def _give_back(layout: Layout) -> None:
    """What root made here belongs to the camera's user, or neither the camera nor `lykta retention` could go on with it."""
    if os.geteuid():
        return
    owner = layout.spool.stat().st_uid
    for folder in (layout.journal("retention"), layout.camera, layout.spool):
        for path in (folder, *folder.rglob("*")):
            if path.lstat().st_uid == 0:
                os.chown(path, owner, -1, follow_symlinks=False)
