"""The command `lykta-central schema`: the MQTT contract as AsyncAPI 3 and JSON Schema."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from privacy.errors import UsageError
from privacy.foreign import printable

app = typer.Typer(add_completion=False)
_LONGEST = 4 * 1024 * 1024


@app.command()
def schema(
    name: Annotated[str, typer.Argument(help="asyncapi, message, command, order, basis, view or config")] = "asyncapi",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write all of them into this folder instead")] = None,
    against: Annotated[
        Path | None, typer.Option(help="an older asyncapi.json: say what of it no longer holds, and exit 1 if anything does not")
    ] = None,
) -> None:
    """Print the MQTT contract: AsyncAPI 3, or the JSON Schema (2020-12) of a node's messages or of one signed record.

    For instance: lykta-central schema message > message.schema.json"""
    from central.fleet.contract.asyncapi import text
    from central.fleet.contract.documents import documents

    known = documents()
    if against is not None:
        _compare(against, known["asyncapi.json"])
        return
    if output is not None:
        _write(known, output)
        return
    wanted = {path.partition(".")[0]: content for path, content in known.items()}
    if name not in wanted:
        raise UsageError(f"schema: name: not known (got {name!r})", f"known: {', '.join(wanted)}")
    sys.stdout.write(text(wanted[name]))


def _write(known: dict[str, dict[str, object]], output: Path) -> None:
    from central.fleet.contract.asyncapi import text
    from privacy.files import OPEN, PUBLIC, make_folder, place

    make_folder(output, OPEN)
    for path, content in known.items():
        place(output / path, text(content).encode(), mode=PUBLIC)


def _compare(path: Path, present: dict[str, object]) -> None:
    from typing import Any

    from central.fleet.contract.changes import breaking
    from privacy.files import read_own
    from privacy.foreign import decode

    try:
        older = decode(read_own(path, most=_LONGEST), dict[str, Any], path.name, most=_LONGEST)
    except OSError as problem:
        raise UsageError(f"schema: {path}: {problem.strerror}", "name a file that `lykta-central schema` printed") from problem
    try:
        found = breaking(older, present)
    except (LookupError, TypeError, AttributeError) as problem:
        raise UsageError(
            f"schema: {path}: is no document of this contract", "name a file that `lykta-central schema` printed"
        ) from problem
    for line in found:
        sys.stdout.write(f"{printable(line)}\n")
    if found:
        raise typer.Exit(1)
