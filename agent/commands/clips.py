"""`lykta clips`: the sealed clips of this node."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.clips.index import IndexEntry, clip_names, read_entries, strange_names
from agent.clips.spool import check_files
from agent.commands.options import Json
from agent.terminal import show, table_of
from drivers import stderr
from privacy.errors import LyktaError, UsageError
from privacy.files import read
from privacy.foreign import printable
from privacy.records.manifest import MANIFEST_FILE, Manifest
from privacy.records.manifest import read_manifest as verified
from provisioning.identity import load_authority
from provisioning.layout import Layout

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Sealed clips on this node.")


@app.command("list")
def clips_list(as_json: Json = False) -> None:
    """All complete clips, oldest first."""
    layout = Layout.from_environment()
    names, known = clip_names(layout.spool, MANIFEST_FILE) if layout.spool.is_dir() else [], read_entries(layout.spool / "index")
    entries, damaged = [], {}
    for name in strange_names(layout.spool) if layout.spool.is_dir() else []:
        stderr.note(f"{name}: is no clip")
    for clip in names:
        try:
            entries.append(known.get(clip) or IndexEntry.of(read_manifest(layout, clip)))
        except (OSError, LyktaError) as problem:
            damaged[clip] = str(problem)
            stderr.note(f"{clip}: {problem}")
    if as_json:
        clips = [msgspec.to_builtins(entry) | {"held": _held(layout, entry.clip)} for entry in entries]
        sys.stdout.write(json.dumps({"schema": "lykta.clips/1", "clips": clips, "damaged": damaged}) + "\n")
        return
    # Not a rich table: ten thousand rows would take four seconds.
    line = "{:36}  {:19}  {:>7}  {:>6}  {:10}  {:8}  {:>10}  {:16}  {}\n"
    sys.stdout.write(line.format("clip", "begin (UTC)", "seconds", "frames", "trigger", "state", "bytes", "delete at", "hold"))
    for entry in entries:
        seconds, last = f"{(entry.end - entry.begin).total_seconds():.1f}", f"{entry.deadline:%Y-%m-%d %H:%M}"
        facts = (
            seconds,
            entry.frames,
            printable(entry.trigger),
            entry.state,
            entry.size,
            last,
            "held" if _held(layout, entry.clip) else "",
        )
        sys.stdout.write(line.format(entry.clip, f"{entry.begin:%Y-%m-%d %H:%M:%S}", *facts))


@app.command("show")
def clips_show(clip: str, as_json: Json = False) -> None:
    """The manifest of one clip."""
    layout = Layout.from_environment()
    facts = msgspec.to_builtins(read_manifest(layout, clip))
    table = table_of("", "")
    for name, value in facts.items():
        table.add_row(name, str(value))
    show("clip", {"manifest": facts}, table, as_json)


@app.command("verify")
def clips_verify(
    clip: Annotated[str, typer.Argument(help="one clip; all without it")] = "",
    as_json: Json = False,
) -> None:
    """Signature, chain and hashes of clips; exit 1 if one does not hold."""
    layout = Layout.from_environment()
    results: dict[str, str] = {}
    for name in [clip] if clip else clip_names(layout.spool, MANIFEST_FILE):
        try:
            check_files(layout.spool / name, read_manifest(layout, name))
            results[name] = "good"
        except (OSError, LyktaError) as problem:
            if isinstance(problem, UsageError):
                raise
            results[name] = str(problem)
    table = table_of("clip", "")
    for name, result in results.items():
        table.add_row(name, result)
    show("clips-verify", {"clips": results}, table, as_json)
    if any(result != "good" for result in results.values()):
        raise typer.Exit(1)


@app.command("copy")
def clips_copy(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a folder on a stick; made if it is not there")],
    as_json: Json = False,
) -> None:
    """Copy sealed clips and closed journal segments to a stick; free those whose receipt has come back on it."""
    from agent.commands.clips_copy import command

    raise typer.Exit(command(Layout.from_environment(), folder, as_json))


def _held(layout: Layout, clip: str) -> bool:
    """Whether the clip is under a hold: it then stays beyond its deadline and receipt."""
    return os.path.exists(f"{layout.spool}/{clip}/hold.jws")  # noqa: PTH110 - ten thousand at once


def read_manifest(layout: Layout, clip: str) -> Manifest:
    path = layout.spool / clip / MANIFEST_FILE
    if "/" in clip or not path.exists():
        raise UsageError(f"clips: no such clip (got {clip!r})", "`lykta clips list` shows them")
    return verified(read(path, f"{clip}: manifest.jws"), load_authority(layout))[0]
