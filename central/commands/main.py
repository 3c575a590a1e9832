"""The command line `lykta-central`. A command's file is imported only when that command is called."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from drivers.command_line import Verb, exit_code_of, program, version_of

_KEYS, _NODES, _CLIPS, _HELP = "Keys and people", "Nodes", "Clips", "Help"
VERBS = {
    "keygen": Verb("central.commands.keygen", _KEYS),
    "officer": Verb("central.commands.officer", _KEYS),
    "broker": Verb("central.commands.broker", _KEYS),
    "bundle": Verb("central.commands.bundle", _NODES),
    "sign": Verb("central.commands.sign", _NODES),
    "send": Verb("central.commands.send", _NODES),
    "collect": Verb("central.commands.collect", _NODES),
    "console": Verb("central.commands.console.serve", _NODES),
    "answer": Verb("central.commands.console.answer", _NODES),
    "digest": Verb("central.commands.console.digest", _NODES),
    "visits": Verb("central.commands.visits", _NODES),
    "renew": Verb("central.commands.renew", _NODES),
    "revoke": Verb("central.commands.revoke", _NODES),
    "ingest": Verb("central.commands.ingest", _CLIPS),
    "list": Verb("central.commands.console.list_clips", _CLIPS),
    "open": Verb("central.commands.open_clip", _CLIPS),
    "verify": Verb("central.commands.verify", _CLIPS),
    "export": Verb("central.commands.export", _CLIPS),
    "schema": Verb("central.commands.schema", _HELP),
    "man": Verb("central.commands.man", _HELP),
}
app = program(VERBS, "Lykta's centre: keys, officers, signing, ingest, clips.")


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=version_of("lykta-central"), is_eager=True, help="print the version, and end")
    ] = False,
) -> None:
    """Lykta's centre: keys, officers, signing, ingest, clips."""


def main() -> None:
    """Entry point: prints errors as `error:` and `hint:`, and exits with their code."""
    # No file is made writable for others, whatever umask the caller has.
    os.umask(os.umask(0o077) | 0o022)
    sys.exit(exit_code_of(app))
