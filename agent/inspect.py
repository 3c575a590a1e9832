"""What a technician reads over SSH: status, configuration, records, clips. Nothing here changes anything, none shows a person."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from agent.cards import Card, clip_names, read_cards
from agent.clocks import clock_of
from agent.config import load, schema
from agent.control import ask
from agent.last_word import last, reason
from agent.overlay import effective
from agent.progress import note
from agent.spool import check_files
from agent.start import SERVICES
from privacy.basis import rule
from privacy.errors import LyktaError, UnreachableError, UsageError
from privacy.manifest import Manifest
from privacy.manifest import read_manifest as verified
from provisioning.identity import load_authority, load_permit, load_records
from provisioning.layout import Layout

_WIDE = 160


def show(schema_name: str, facts: dict[str, Any], table: Table, as_json: bool) -> None:
    """Result on stdout: one versioned object, or a table."""
    if as_json:
        sys.stdout.write(json.dumps({"schema": f"lykta.{schema_name}/1", **facts}, default=str) + "\n")
    else:
        # Piped output has no width of its own; 80 columns would break every line of a status.
        Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE).print(table)


def table_of(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


# -- status ------------------------------------------------------------------------------------------------------------


def status(layout: Layout, as_json: bool, watch: bool) -> int:
    """0 if all three answer, else 4; the others are shown all the same."""
    while True:
        answers, missing = _ask_all(layout)
        _show_status(layout, answers, missing, as_json)
        if not watch:
            break
        time.sleep(1.0)
    if missing:
        first = next(iter(missing.values()))
        raise UnreachableError(f"not reachable: {', '.join(missing)}", first.hint)
    return 0


def _ask_all(layout: Layout) -> tuple[dict[str, dict[str, Any]], dict[str, LyktaError]]:
    answers: dict[str, dict[str, Any]] = {}
    missing: dict[str, LyktaError] = {}
    for name in SERVICES:
        try:
            answers[name] = ask(layout.socket(name, "ctl"), {"verb": "status"})
        except UnreachableError as problem:
            missing[name] = problem
    return answers, missing


def _why(layout: Layout, service: str) -> str:
    """How the service ended, if the service manager's hook left word."""
    word = last(layout, service)
    return "" if word is None else reason(service, word) or f"{word.result} {word.status}".strip()


def _show_status(layout: Layout, answers: dict[str, dict[str, Any]], missing: dict[str, LyktaError], as_json: bool) -> None:
    why = {name: _why(layout, name) for name in missing}
    table = table_of("service", "state", "reason", "since", "until", "owner", "detail")
    for name in SERVICES:
        if name in missing:
            table.add_row(name, "not reachable", why[name], "", "", "technician", missing[name].hint)
            continue
        standing = answers[name]["standing"]
        numbers = ", ".join(f"{key} {value}" for key, value in answers[name]["detail"].items() if value not in ("", None))
        when = [_minute(standing["since"]), _minute(standing["until"])]
        table.add_row(name, standing["state"], standing["reason"], *when, standing["owner"], numbers)
    show("status", {"services": answers, "not_reachable": list(missing), "why": why}, table, as_json)


def _minute(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}" if text else ""


def help_test(layout: Layout, as_json: bool) -> None:
    name = ask(layout.socket("io", "ctl"), {"verb": "help_test"})["test"]
    table = table_of("test", "")
    table.add_row(str(name), "sent: ask the centre whether it came")
    show("help-test", {"test": name}, table, as_json)


def seal_keys(layout: Layout, as_json: bool) -> None:
    from provisioning.sealing import seal_keys as seal

    sealed = seal(layout)
    table = table_of("sealed to this machine")
    for name in sealed:
        table.add_row(name)
    show("seal-keys", {"sealed": sealed}, table, as_json)


# -- configuration -----------------------------------------------------------------------------------------------------


def config_validate(path: Path, as_json: bool) -> None:
    load(path)
    table = table_of("file", "")
    table.add_row(str(path), "valid")
    show("config-validate", {"file": str(path), "valid": True}, table, as_json)


def config_show(layout: Layout, as_json: bool) -> None:
    found = effective(layout)
    settings, sources = msgspec.to_builtins(found.config), {}
    table = table_of("setting", "value", "from")
    for section, values in settings.items():
        for key, value in values.items():
            sources[f"{section}.{key}"] = source = found.source(layout, section, key)
            table.add_row(f"{section}.{key}", str(value), source)
    facts = {"settings": settings, "sources": sources, "version": found.version, "trouble": str(found.trouble or "")}
    show("config", facts, table, as_json)
    if found.trouble:
        note(f"{layout.overlay.name} is not in force: {found.trouble}")


def config_schema() -> None:
    sys.stdout.write(json.dumps(schema(), indent=1) + "\n")


# -- records -----------------------------------------------------------------------------------------------------------


def basis_show(layout: Layout, as_json: bool) -> None:
    basis, view = load_records(layout)
    table = table_of("", "")
    for name, value in msgspec.to_builtins(basis).items():
        table.add_row(f"basis.{name}", str(value))
    for name, value in msgspec.to_builtins(view).items():
        table.add_row(f"view.{name}", str(value))
    show("basis", {"basis": msgspec.to_builtins(basis), "view": msgspec.to_builtins(view)}, table, as_json)


def basis_verify(layout: Layout, as_json: bool) -> None:
    """Raises `RecordError` (exit 5) where the records do not fit this node or are over."""
    config = effective(layout).config
    node, mask = config.node, config.mask
    permit = load_permit(layout, node.site, node.id, mask.profile, mask.stack)
    clock = clock_of(layout, config)
    ruling = rule(permit.basis, clock.now(), clock.trusted())
    table = table_of("", "")
    table.add_row("records", f"good: basis {permit.basis.id}, view {permit.view.id}")
    table.add_row("lens now", "may be open" if ruling.open else f"closed: {ruling.reason}")
    table.add_row("until", str(ruling.until or ""))
    facts = {"valid": True, "open": ruling.open, "reason": ruling.reason, "until": ruling.until}
    show("basis-verify", facts, table, as_json)


# -- clips -------------------------------------------------------------------------------------------------------------


def clips_list(layout: Layout, as_json: bool) -> None:
    """From the spool's index; what it lacks from the manifests. Signatures are not checked here: `clips verify` does that."""
    names, known = clip_names(layout.spool, "manifest.jws") if layout.spool.is_dir() else [], read_cards(layout.spool / "index")
    cards = [known.get(clip) or Card.of(read_manifest(layout, clip)) for clip in names]
    if as_json:
        sys.stdout.write(json.dumps({"schema": "lykta.clips/1", "clips": msgspec.to_builtins(cards)}) + "\n")
        return
    # Not a rich table: ten thousand rows would take it four seconds.
    line = "{:36}  {:19}  {:>7}  {:>6}  {:10}  {:8}  {:>10}  {}\n"
    sys.stdout.write(line.format("clip", "begin (UTC)", "seconds", "frames", "trigger", "state", "bytes", "delete at"))
    for card in cards:
        seconds, last = f"{(card.end - card.begin).total_seconds():.1f}", f"{card.deadline:%Y-%m-%d %H:%M}"
        facts = (seconds, card.frames, card.trigger, card.state, card.size, last)
        sys.stdout.write(line.format(card.clip, f"{card.begin:%Y-%m-%d %H:%M:%S}", *facts))


def clips_show(layout: Layout, clip: str, as_json: bool) -> None:
    facts = msgspec.to_builtins(read_manifest(layout, clip))
    table = table_of("", "")
    for name, value in facts.items():
        table.add_row(name, str(value))
    show("clip", {"manifest": facts}, table, as_json)


def clips_verify(layout: Layout, clip: str, as_json: bool) -> int:
    """1 if a clip does not hold."""
    results: dict[str, str] = {}
    for name in [clip] if clip else clip_names(layout.spool, "manifest.jws"):
        try:
            check_files(layout.spool / name, read_manifest(layout, name))
            results[name] = "good"
        except LyktaError as problem:
            if isinstance(problem, UsageError):
                raise
            results[name] = str(problem)
    table = table_of("clip", "")
    for name, result in results.items():
        table.add_row(name, result)
    show("clips-verify", {"clips": results}, table, as_json)
    return int(any(result != "good" for result in results.values()))


def read_manifest(layout: Layout, clip: str) -> Manifest:
    path = layout.spool / clip / "manifest.jws"
    if "/" in clip or not path.exists():
        raise UsageError(f"clips: no such clip (got {clip!r})", "`lykta clips list` shows them")
    return verified(path.read_bytes(), load_authority(layout))[0]
