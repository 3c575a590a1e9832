"""The command `lykta-central list`: finds clips by stop and time."""

from __future__ import annotations

from typing import Annotated

import typer

from central.commands.options import Json, print_result
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command(name="list")
def list_clips(
    question: Annotated[str, typer.Argument(help='stop and time in plain words, for instance "stop 12, Friday 22:14"')],
    database: Annotated[str, typer.Option(help="the collector's: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")],
    as_json: Json = False,
) -> None:
    """List the clips of a stop that began within two hours of a time, the nearest first. The day may be a weekday (the last one),
    today, yesterday or a date; Swedish words are understood as well.

    Exit code: 0 found; 1 none; 2 no such stop, or no time named.
    """
    from datetime import UTC, datetime

    import msgspec

    from central.fleet.collect.store.database import dispose, open_database, told_as_error
    from central.fleet.console import search
    from central.fleet.console.snapshot import Snapshots
    from central.fleet.console.words import Speaker

    asked, engine, speaker = search.read_question(question, datetime.now(UTC)), open_database(database, reading=True), Speaker("en")
    if asked.at_ms is None:
        raise UsageError(f"list: no time in {question[:80]!r}", 'for instance "stop 12, Friday 22:14"')
    with told_as_error(engine):
        stops = search.matching(Snapshots(engine).read().stops.values(), asked.words)
        if not stops:
            raise UsageError(
                f"list: no stop has all these words: {' '.join(asked.words)}", "words of the stop's name, area or node"
            )
        with engine.begin() as connection:
            found = search.near(connection, stops, asked.at_ms, None)
    dispose(engine)
    lines = [
        f"{speaker.when(clip.began)}  {stop.name} ({stop.node})  {clip.clip}  {speaker.say('stage', clip.stage)}"
        for stop, clip in ((one.stop, one.row.clip) for one in found)
    ]
    facts = {"at_ms": asked.at_ms, "clips": [msgspec.to_builtins(one) for one in found]}
    print_result("list", facts, lines or [f"no clip within two hours of {speaker.when(asked.at_ms)}"], as_json)
    if not found:
        raise typer.Exit(1)
