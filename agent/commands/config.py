"""`lykta config`: the node's settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.commands.options import Json
from agent.runtime.config import load, schema
from agent.runtime.settings_in_force import effective
from agent.terminal import show, table_of
from drivers import stderr
from provisioning.layout import Layout

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The node's settings, lykta.toml.")


@app.command("validate")
def config_validate(
    file: Annotated[Path | None, typer.Argument(help="another file than the node's")] = None, as_json: Json = False
) -> None:
    """Say whether the settings are valid; exit 5 if not."""
    path = file or Layout.from_environment().config
    load(path)
    table = table_of("file", "")
    table.add_row(str(path), "valid")
    show("config-validate", {"file": str(path), "valid": True}, table, as_json)


@app.command("show")
def config_show(as_json: Json = False) -> None:
    """The settings in force, defaults included, and where each comes from."""
    layout = Layout.from_environment()
    found = effective(layout)
    settings, sources = msgspec.to_builtins(found.config), {}
    table = table_of("setting", "value", "from")
    for section, values in settings.items():
        for key, value in values.items():
            sources[f"{section}.{key}"] = source = found.source(layout, section, key)
            table.add_row(f"{section}.{key}", str(value), source)
    facts = {"settings": settings, "sources": sources, "version": found.version, "trouble": str(found.trouble or "")}
    show("config", facts, table, as_json)
    if found.trouble:
        stderr.note(f"{layout.overlay.name} is not in force: {found.trouble}")


@app.command("apply")
def config_apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="what `lykta-central sign config` made")], as_json: Json = False
) -> None:
    """Lay a signed configuration over lykta.toml, as root. 0 placed, 1 refused."""
    from agent.root.apply import command

    raise typer.Exit(command(Layout.from_environment(), [file], "config", as_json))


@app.command("schema")
def config_schema() -> None:
    """The JSON Schema of lykta.toml."""
    sys.stdout.write(json.dumps(schema(), indent=1) + "\n")
