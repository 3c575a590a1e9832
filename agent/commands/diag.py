"""`lykta diag`: one file for a technician to attach to an issue. No picture, no clip, no key, no personal data (R37)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from agent.commands.check.command import CHECKS, look
from agent.commands.options import Json
from agent.runtime.control import ask
from agent.runtime.requests import Carry
from agent.terminal import show, table_of
from agent.uplink.diagnosis import collect
from agent.uplink.upload.parcels import Sent
from privacy.errors import UsageError
from privacy.files import on_disk, place
from provisioning.layout import Layout


class _Kept(Struct, frozen=True):
    """The uplink's answer: the id of the parcel."""

    id: str


app = typer.Typer(add_completion=False)


@app.command()
def diag(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the JSON file to write")],
    send: Annotated[bool, typer.Option("--send", help="also let the uplink carry it to the centre")] = False,
    as_json: Json = False,
) -> None:
    """One file about this node to attach to an issue: no picture, no clip, no key."""
    raise typer.Exit(run_diag(Layout.from_environment(), out, send, as_json))


def run_diag(layout: Layout, out: Path, send: bool, as_json: bool) -> int:
    """Write the file; with --send also pass it to the uplink, which sends it to the centre."""
    if out.is_symlink() or (out.exists() and not out.is_file()):
        raise UsageError(f"diag: {out}: is no plain file", "name a new file")
    findings = msgspec.to_builtins(look(layout, ["config", *CHECKS]))
    data = json.dumps(collect(layout, "ctl", findings), indent=1, default=str).encode()
    with on_disk(out, "name a file in a folder that you may write to"):
        place(out, data)
    sent = hand_in(layout, "diag", "diag.json", data) if send else None
    table = table_of("file", "bytes", "on its way as")
    table.add_row(str(out), str(len(data)), sent or "")
    show("diag-written", {"file": str(out), "bytes": len(data), "sent": sent}, table, as_json)
    return 0


def hand_in(layout: Layout, kind: Sent, name: str, data: bytes) -> str:
    """Pass a report or a diagnosis to the uplink: the id of its parcel. It is on the disk when this returns."""
    return ask(layout.socket("uplink", "ctl"), Carry(kind, name, data), timeout=10).id
