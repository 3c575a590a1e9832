"""`lykta`: the command line of the node. The file of a command is imported only when it runs."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from drivers.command_line import Verb, program, version_of
from privacy.errors import UsageError

_LOOK, _ACT, _HELPERS = "Look", "Act", "Services and helpers"
VERBS = {
    "status": Verb("agent.commands.status", _LOOK),
    "check": Verb("agent.commands.check.command", _LOOK),
    "config": Verb("agent.commands.config", _LOOK),
    "basis": Verb("agent.commands.basis", _LOOK),
    "view": Verb("agent.commands.view", _LOOK),
    "clips": Verb("agent.commands.clips", _LOOK),
    "outbox": Verb("agent.commands.outbox", _LOOK),
    "journal": Verb("agent.commands.journal", _LOOK),
    "diag": Verb("agent.commands.diag", _LOOK),
    "version": Verb("agent.commands.version", _LOOK),
    "man": Verb("agent.commands.man", _LOOK),
    "mask": Verb("agent.commands.mask.command", _ACT),
    "demo": Verb("agent.commands.demo", _ACT),
    "selftest": Verb("agent.commands.selftest", _ACT),
    "help-test": Verb("agent.commands.help_test", _ACT),
    "apply": Verb("agent.commands.root.apply", _ACT),
    "order": Verb("agent.commands.order", _ACT),
    "renew": Verb("agent.commands.root.renew", _ACT),
    "seal-keys": Verb("agent.commands.root.seal_keys", _ACT),
    "decommission": Verb("agent.commands.root.decommission", _ACT),
    "camera": Verb("agent.commands.services", _HELPERS),
    "io": Verb("agent.commands.services", _HELPERS),
    "uplink": Verb("agent.commands.services", _HELPERS),
    "retention": Verb("agent.commands.services", _HELPERS),
    "setup": Verb("agent.commands.services", _HELPERS),
    "link": Verb("agent.commands.root.link", _HELPERS),
    "last-word": Verb("agent.commands.services", _HELPERS),
}
app = program(VERBS, "Lykta: a camera node that masks people before anything is encoded.")


@app.callback()
def options(
    context: typer.Context,
    root: Annotated[str, typer.Option(help="folder that all of the node's paths lie under", envvar="LYKTA_ROOT")] = "",
    _version: Annotated[
        bool, typer.Option("--version", callback=version_of("lykta"), is_eager=True, help="print the version, and end")
    ] = False,
) -> None:
    given = context.get_parameter_source("root")
    if context.invoked_subcommand == "demo" and given and given.name == "COMMANDLINE":
        raise UsageError("demo: --root: has no meaning with it", "its node lies below --dir")
    if root:
        os.environ["LYKTA_ROOT"] = root
