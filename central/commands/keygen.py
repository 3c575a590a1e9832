"""The command `lykta-central keygen`: makes, replaces and retires keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, print_result, refuse_unused
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def keygen(
    folder: Annotated[
        Path, typer.Argument(help="new folder for the keys; with --rotate, --retire and --custodian an existing one")
    ],
    host: Annotated[
        list[str] | None, typer.Option(help="name or address of broker and ingest, beside localhost; may be repeated")
    ] = None,
    officer: Annotated[str, typer.Option(help="name of the first officer, who has all rights (officer-1)")] = "",
    rotate: Annotated[
        str,
        typer.Option(
            help="make a new identity, ca, basis, command or receipt key and keep the old one; "
            "or ingest or broker: replace key and certificate, with --host for other names; or ops, desk, collector or console: "
            "the certificate with which that one connects to the broker"
        ),
    ] = "",
    retire: Annotated[str, typer.Option(help="stop trusting the old ca, basis, command or receipt key")] = "",
    custodian: Annotated[str, typer.Option(help="age1…: another recipient who can open all clips from now on")] = "",
    as_json: Json = False,
) -> None:
    """Make a CA, the basis, command and receipt keys, servers' certificates, the clip identity and the first officer.

    With --rotate, --retire or --custodian change one thing of an existing folder: docs/KEY-DRILLS.md says when and in which order.
    """
    from central.keys import keygen as keys

    if sum(map(bool, (rotate, retire, custodian))) > 1:
        raise UsageError("keygen: one of --rotate, --retire and --custodian at a time", "run one after the other")
    change = rotate or retire or custodian
    refuse_unused("keygen", f"an existing folder ({change})", officer=change and officer)
    if rotate not in keys.SERVERS:
        refuse_unused("keygen", change, host=change and host)
    if change:
        text = _change(folder, rotate, retire, custodian, host)
    else:
        keys.keygen(folder, _hosts(host), officer or keys.FIRST)
        text = f"keys in {folder}: keep ca.key, basis.key and identity.txt offline"
    print_result("keygen", {"folder": str(folder), "files": _files(folder)}, text, as_json)


def _change(folder: Path, rotate: str, retire: str, custodian: str, host: list[str] | None) -> str:
    """Change one thing of an existing folder of keys, and say what to do next. host: other names for a server's certificate."""
    from central.keys import keygen as keys

    if rotate in keys.SERVERS:
        keys.reissue(folder, rotate, _hosts(host) if host else ())
        return f"new key and certificate of {rotate} in {folder}: give it both, and start it again"
    if rotate:
        keys.rotate(folder, rotate)
        return f"new {rotate} key in {folder}: take it to the nodes with bundle --trust-only"
    if retire:
        keys.retire_key(folder, retire)
        return f"old {retire} key retired in {folder}: update the nodes with bundle --trust-only"
    keys.add_custodian(folder, custodian)
    return f"custodian added in {folder}: update the nodes with bundle --trust-only"


def _hosts(more: list[str] | None) -> list[str]:
    return ["localhost", "127.0.0.1", *(more or [])]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
