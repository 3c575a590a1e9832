"""What the commands of `lykta-central` share: common options, and how results are told."""

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
As = Annotated[str, typer.Option("--as", envvar="LYKTA_OFFICER", help="the officer who does it; else the only one with a key here")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def show(name: str, facts: dict[str, Any], text: str | list[str], as_json: bool) -> None:
    """Result on stdout: for people, a line or several, or as one versioned object."""
    if as_json:
        sys.stdout.write(json.dumps({"schema": f"lykta-central.{name}/1", **facts}, default=str) + "\n")
        return
    for line in [text] if isinstance(text, str) else text:
        sys.stdout.write(f"{printable(line, len(line))}\n")


def unused(command: str, beside: str, **options: object) -> None:
    """Refuse what was given and would be ignored. options: by their names; an empty value was not given."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{command}: --{name.replace('_', '-')}: has no meaning with {beside}", "leave it out")


def given_as(officer: str) -> dict[str, str]:
    """--as for `unused`; from the environment it stands for every command and is no mistake."""
    return {"as": officer if officer != os.environ.get("LYKTA_OFFICER") else ""}


def frames_done(number: int, of: int) -> None:
    """Progress of long work on stderr; a torn clip knows of no number of pictures."""
    if number % 500 == 0:
        stderr.line(f"proved {number} pictures" + (f" of {of}" if of else ""))


def folder_of(clip: Path) -> Path:
    """Of a stored clip that is named by its folder or its clip.age."""
    return clip.parent if clip.name == "clip.age" else clip
