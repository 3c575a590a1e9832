"""The command `lykta-central sign`: signs a basis, view, configuration or order."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from central.commands.options import OfficerName, as_option, refuse_unused
from drivers import stderr
from privacy.errors import RecordError, UsageError

if TYPE_CHECKING:
    from central.keys.review import Objection


app = typer.Typer(add_completion=False)


RECORDS = ("basis", "view", "config", "order")


@app.command()
def sign(
    record: Annotated[str, typer.Argument(help="basis, view, config or order")],
    source: Annotated[Path | None, typer.Argument(help="the record as JSON")] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="folder that keygen made")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the signed record")] = None,
    example: Annotated[str, typer.Option(help="print a minimal record for SITE/NODE to edit, and sign nothing")] = "",
    name: OfficerName = "",
    yes: Annotated[bool, typer.Option("--yes", help="also sign a record that has expired or shows the whole picture")] = False,
) -> None:
    """Sign a basis or a view, which a node needs to open its camera; a configuration; or an order. An officer signs who has the
    right to (`sign`, or `order`), and the access log has it.

    An existing signed record at -o is replaced; any other file is not.
    """
    from central.keys.bundle import parse_node_name
    from privacy.files import OPEN, PUBLIC, make_folder, place

    if record not in RECORDS:
        raise UsageError(
            f"sign: must be basis, view, config or order (got {record!r})",
            "lykta-central sign basis FILE.json --keys DIR -o basis.jws",
        )
    if example:
        refuse_unused("sign", "--example", file=source, keys=keys, output=output, yes=yes, **as_option(name))
        sys.stdout.write(_example(record, *parse_node_name(example)) + "\n")
        return
    if not (source and keys and output):
        raise UsageError("sign: FILE.json, --keys and -o are needed", "or --example SITE/NODE to print one to edit")
    _check_replaceable(output, record)
    make_folder(output.parent, OPEN)
    place(output, _signed(record, source, keys, name, yes), mode=PUBLIC)
    stderr.line(f"signed {record}: {output}")


def _check_replaceable(output: Path, record: str) -> None:
    """`UsageError` if OUT exists and is not a signed record of this kind: a key, for instance, or the file to be signed."""
    from privacy.files import read_own
    from privacy.records.jws import kind_of

    try:
        found = kind_of(read_own(output))
    except FileNotFoundError:
        return
    except OSError:
        found = ""
    if found != f"lykta-{record}":
        raise UsageError(f"sign: -o: {output} exists and is no signed {record}", "name a new file")


def _signed(record: str, source: Path, keys: Path, name: str, yes: bool) -> bytes:
    def on_objections(objections: list[Objection]) -> None:
        for one in objections:
            if not one.confirmable:
                raise RecordError(one.text, one.hint)
            if not (yes or (sys.stdin.isatty() and typer.confirm(f"{one.text}. Sign it?", err=True))):
                raise RecordError(one.text, f"{one.hint}; --yes signs it nevertheless")

    if record != "order":
        from central.keys.signing import sign_record

        return sign_record(record, source, keys, name, on_objections)
    from central.ingest.orders import sign_order

    order, token = sign_order(source, keys, name, on_objections)
    stderr.line(f"order {order.number} for {order.site}/{order.node}: {order.act}")
    return token


def _example(record: str, site: str, node: str) -> str:
    import msgspec

    from central.ingest import orders
    from central.keys import signing

    made = orders.example(site, node) if record == "order" else signing.example(record, site, node)
    return msgspec.json.format(msgspec.json.encode(made), indent=1).decode()
