"""The command `lykta-central ingest`: receives objects and deletes what is due."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, Keys, print_result, refuse_unused
from drivers import stderr
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def ingest(
    keys: Keys,
    store: Annotated[str, typer.Option(help="folder for the objects, or s3://BUCKET/PREFIX (PREFIX may be left out)")],
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="import the objects in this folder, and end")] = None,
    host: Annotated[str, typer.Option(help="address to listen on", show_default="127.0.0.1")] = "",
    port: Annotated[int | None, typer.Option(help="port to listen on", min=1, max=65535, show_default="8443")] = None,
    journal: Annotated[Path | None, typer.Option(help="the centre's journal; by default KEYS/journal")] = None,
    sweep_once: Annotated[bool, typer.Option(help="delete what is due, and end")] = False,
    as_json: Json = False,
) -> None:
    """Receive sealed objects from nodes over mutual TLS, or from DIR, give signed receipts, and delete what is due."""
    from central.ingest.run import IngestService

    if folder and sweep_once:
        raise UsageError("ingest: DIR: has no meaning with --sweep-once", "run one after the other")
    if folder or sweep_once:
        refuse_unused("ingest", "--sweep-once" if sweep_once else "DIR", host=host, port=port)
    else:
        refuse_unused("ingest", "nodes that are served", json=as_json)
    service = IngestService.create(store, keys, journal or keys / "journal")
    if sweep_once:
        facts, text = service.sweep_once()
        print_result("sweep", facts, text, as_json)
        if facts["failed"]:
            raise typer.Exit(1)
    elif folder:
        facts, text = service.import_folder(folder)
        print_result("ingest", facts, text, as_json)
        if facts["refused"]:
            raise typer.Exit(1)
    else:
        where = (host or "127.0.0.1", port or 8443)
        stderr.line(f"ingest on https://{where[0]}:{where[1]}, store {store}")
        service.serve(keys, *where)
