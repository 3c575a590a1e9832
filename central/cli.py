"""What the commands of `lykta-central` share: the application, common options, and how results are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Lykta's centre: keys, officers, signing, ingest, clips.",
)
Keys = Annotated[Path, typer.Option("--keys", help="folder that keygen made")]
KeysFolder = Annotated[Path, typer.Argument(help="folder that keygen made")]
As = Annotated[str, typer.Option("--as", envvar="LYKTA_OFFICER", help="the officer who does it; else the only one with a key here")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def show(name: str, facts: dict[str, Any], text: str, as_json: bool) -> None:
    """Result on stdout: for people, or as one versioned object."""
    sys.stdout.write(json.dumps({"schema": f"lykta-central.{name}/1", **facts}, default=str) + "\n" if as_json else f"{text}\n")


def tell(text: str) -> None:
    """Progress and notes on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
