"""The command `lykta-central visits`: which stops need somebody, why, and what to bring."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from central.commands.options import Json, print_result
from privacy.errors import UsageError

if TYPE_CHECKING:
    from central.fleet.visits.visit import Visit

app = typer.Typer(add_completion=False)
Language = Literal["en", "sv"]


@app.command()
def visits(
    database: Annotated[str, typer.Option(help="of the collector: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")],
    area: Annotated[str, typer.Option(help="of this area only")] = "",
    lang: Annotated[Language, typer.Option(help="language of the texts: en or sv")] = "en",
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print a table of comma-separated values")] = False,
) -> None:
    """List the nodes that need somebody, the most urgent first: the cause with its reasons, what to do and what to bring.

    The cause is inferred from what the collector stored; "unknown" is an answer. For instance:
    lykta-central visits --database sqlite:///KEYS/collect.db"""
    import time

    from central.fleet.collect.store.database import dispose, open_database, told_as_error
    from central.fleet.visits.listing import visits as find

    if as_json and as_csv:
        raise UsageError("visits: --csv: has no meaning with --json", "leave one out")
    engine = open_database(database, reading=True)
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        raise UsageError(f"visits: --database: no such file (got {database!r})", "name the one that `lykta-central collect` fills")
    try:
        with told_as_error(engine), engine.connect() as connection:
            found = find(connection, time.time_ns() // 1_000_000, area)
    finally:
        dispose(engine)
    shown = [_shown(one, lang) for one in found]
    if as_csv:
        _print_csv(shown)
        return
    print_result("visits", {"visits": shown}, list(_lines(shown)), as_json)


def _shown(one: Visit, lang: Language) -> dict[str, Any]:
    """A visit as it is printed."""
    from datetime import UTC, datetime

    from central.fleet.visits.causes import CAUSES
    from central.fleet.visits.texts import item, sentence

    cause = CAUSES[one.cause]
    return {
        "node": one.node,
        "stop": one.stop,
        "area": one.area,
        "cause": one.cause,
        "text": getattr(cause.text, lang),
        "reasons": [sentence(reason, lang) for reason in one.reasons],
        "todo": getattr(cause.todo, lang),
        "bring": [item(key, lang) for key in one.bring],
        "who": cause.who,
        "visit": cause.visit,
        "since": f"{datetime.fromtimestamp(one.since_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def _lines(shown: list[dict[str, Any]]) -> Iterable[str]:
    """A line for the cause, and indented ones for the rest."""
    for one in shown:
        place = ", ".join(part for part in (one["stop"], one["area"]) if part)
        yield f"{one['node']}  {one['cause']}: {one['text']}  ({place}; {one['who']}; {one['since']})"
        yield from (f"    - {reason}" for reason in one["reasons"])
        yield f"    > {one['todo']}"
        if one["bring"]:
            yield f"    + {', '.join(one['bring'])}"


def _print_csv(shown: list[dict[str, Any]]) -> None:
    """A header and a line for each; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    names = ("node", "stop", "area", "cause", "text", "reasons", "todo", "bring", "who", "visit", "since")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(names)
    for one in shown:
        table.writerow(_cell(one[name]) for name in names)


def _cell(value: object) -> str:
    text = "; ".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
