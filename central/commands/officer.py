"""The command `lykta-central officer`: lists officers and changes their rights."""

from __future__ import annotations

from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, print_result, refuse_unused
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def officer(
    keys: KeysFolder,
    name: Annotated[str, typer.Argument(help="the officer; without a name, all are listed")] = "",
    may: Annotated[list[str] | None, typer.Option(help="open, export, order, sign, command; give each: exactly these")] = None,
    remove: Annotated[bool, typer.Option(help="take all rights away")] = False,
    as_json: Json = False,
) -> None:
    """List the officers and their rights, add an officer, or change an officer's rights. Changes need the CA's key."""
    import msgspec

    from central.keys import officers

    rights = tuple(right for right in officers.RIGHTS if right in (may or ()))
    if set(may or ()) - set(rights):
        raise UsageError(
            f"officer: may: must be {', '.join(officers.RIGHTS)} (got {' '.join(may or ())})", "give each right with its own --may"
        )
    if not name:
        refuse_unused("officer", "no name", may=rights, remove=remove)
    if name and bool(rights) == remove:
        raise UsageError("officer: --may or --remove is needed", "without a name all are listed")
    held = officers.set_rights(keys, {name: rights}) if name else officers.roles(keys)
    print_result("officer", msgspec.to_builtins(held), officers.describe(held), as_json)
