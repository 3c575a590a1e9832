"""The command `lykta-central digest`: what happened since a time, and who needs a visit."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from central.commands.options import Json, print_result
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def digest(
    database: Annotated[str, typer.Option(help="the collector's: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")],
    since: Annotated[str, typer.Option(help="a date, 2026-11-23, or days: 7d")] = "7d",
    as_csv: Annotated[bool, typer.Option("--csv", help="the visits alone, as CSV")] = False,
    language: Annotated[str, typer.Option(help="sv or en")] = "en",
    as_json: Json = False,
) -> None:
    """Print the Monday page: states, calls for help and how soon they were taken, alarms, clips, and the visits that are needed.

    For instance: lykta-central digest --database sqlite:///KEYS/collect.db --since 7d --csv > visits.csv
    """
    from datetime import UTC

    import msgspec

    from central.fleet.collect.store.database import dispose, open_database, told_as_error
    from central.fleet.console import digest as made
    from central.fleet.console.snapshot import Snapshots
    from central.fleet.console.texts import LANGUAGES
    from central.fleet.console.words import Speaker

    if language not in LANGUAGES:
        raise UsageError(f"digest: --language: must be sv or en (got {language[:20]!r})", "leave it out for English")
    begin, engine, speaker = _begin(since, datetime.now(UTC)), open_database(database, reading=True), Speaker(language)
    with told_as_error(engine):
        snapshot = Snapshots(engine).read()
        with engine.begin() as connection:
            found = made.read_digest(connection, snapshot, int(begin.timestamp() * 1000))
    dispose(engine)
    if as_csv:
        sys.stdout.write(made.as_csv(found, speaker))
        return
    names = {stop.node: stop.name for stop in snapshot.stops.values()}
    print_result("digest", msgspec.to_builtins(found), made.as_text(found, speaker, names), as_json)


def _begin(text: str, now: datetime) -> datetime:
    """The beginning of a day in Sweden, or of so many days before now."""
    from datetime import timedelta

    from privacy.foreign import moment
    from privacy.records.zone import stockholm

    days = text.removesuffix("d")
    if text.endswith("d") and days.isascii() and days.isdecimal() and 0 < int(days[:6]) <= 3650:
        return now - timedelta(days=int(days))
    found = moment(f"{text}T00:00:00Z", "digest: --since", "for instance 7d, or 2026-11-23")
    return found.replace(tzinfo=stockholm())
