"""`lykta view show|confirm`: what the stop looks like without anybody, and whether a moved view is the right one."""

from __future__ import annotations

import getpass
from pathlib import Path

from msgspec import Struct

from agent.runtime.control import ask, ask_for
from agent.terminal import show, table_of
from privacy.errors import UsageError
from provisioning.layout import Layout


class _Shown(Struct, frozen=True):
    """The camera's answer. jpeg: in base64 on the line."""

    kind: str
    hides: bool
    jpeg: bytes


def view_show(layout: Layout, target: Path, as_json: bool) -> None:
    """Write the reference picture: a median of masked frames, nobody in it."""
    if not target.parent.is_dir():
        raise UsageError(f"view: {target.parent}: no such folder", "make it first")
    answer = ask_for(_Shown, layout.socket("camera", "ctl"), {"verb": "view"})
    target.write_bytes(answer.jpeg)
    state = answer.kind or "as known"
    table = table_of("view", "all masked", "picture")
    table.add_row(state, "yes" if answer.hides else "no", str(target))
    show("view", {"view": state, "hides": answer.hides, "picture": str(target)}, table, as_json)


def view_confirm(layout: Layout, as_json: bool) -> None:
    """Take the present view for the right one; journalled with the name of who did it."""
    ask(layout.socket("camera", "ctl"), {"verb": "view_confirm", "by": getpass.getuser()})
    table = table_of("view", "")
    table.add_row("confirmed", "its edges are learned anew for a minute; the records in force stay what they are")
    show("view-confirm", {"confirmed": True}, table, as_json)
