"""Options that several commands of `lykta-central` have, and the output of results."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from drivers import stderr
from privacy.errors import UsageError
from privacy.foreign import printable

Keys = Annotated[Path, typer.Option("--keys", help="folder that keygen made")]
KeysFolder = Annotated[Path, typer.Argument(help="folder that keygen made")]
OfficerName = Annotated[
    str, typer.Option("--as", envvar="LYKTA_OFFICER", help="the officer who acts; by default the only one with a key in KEYS")
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def print_result(name: str, facts: dict[str, Any], text: str | list[str], as_json: bool) -> None:
    """Print a result on stdout: lines of text, or with --json `facts` as one versioned object. name: of the schema."""
    if as_json:
        sys.stdout.write(json.dumps({"schema": f"lykta-central.{name}/1", **facts}, default=str) + "\n")
        return
    for line in [text] if isinstance(text, str) else text:
        sys.stdout.write(f"{printable(line, len(line))}\n")


def refuse_unused(command: str, beside: str, **options: object) -> None:
    """`UsageError` for options that were given but would be ignored. beside: what excludes them; empty values were not given."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{command}: --{name.replace('_', '-')}: has no meaning with {beside}", "leave it out")


def as_option(officer: str) -> dict[str, str]:
    """--as for `refuse_unused`: empty if it comes from the environment, which applies to every command."""
    return {"as": officer if officer != os.environ.get("LYKTA_OFFICER") else ""}


def print_progress(number: int, of: int) -> None:
    """Print progress on stderr, every 500 pictures. of: how many there are; 0 for a torn clip, whose number is unknown."""
    if number % 500 == 0:
        stderr.line(f"proved {number} pictures" + (f" of {of}" if of else ""))


def clip_folder(clip: Path) -> Path:
    """The folder of a stored clip, which is given as its folder or its clip.age."""
    return clip.parent if clip.name == "clip.age" else clip
