"""What a technician reads over SSH: status, configuration, records, clips. Nothing here changes anything, none shows a person."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.table import Table

from agent.clips.index import Card, clip_names, read_cards, strange_names
from agent.clips.spool import check_files
from agent.commands.node_facts import NodeFacts, node_facts
from agent.runtime.clocks import clock_of
from agent.runtime.config import load, schema
from agent.runtime.control import ask
from agent.runtime.exit_report import last, reason
from agent.runtime.settings_in_force import effective
from agent.runtime.status import ServiceStatus, status_of
from agent.terminal import note, show, table_of
from privacy.errors import LyktaError, UnreachableError, UsageError
from privacy.files import read
from privacy.foreign import printable
from privacy.records.basis import rule
from privacy.records.manifest import Manifest
from privacy.records.manifest import read_manifest as verified
from provisioning.identity import load_authority, load_permit, load_records
from provisioning.layout import SERVICES, Layout

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
        raise UnreachableError("; ".join(map(str, missing.values())), first.hint)
    return 0


def _ask_all(layout: Layout) -> tuple[dict[str, ServiceStatus], dict[str, LyktaError]]:
    answers: dict[str, ServiceStatus] = {}
    missing: dict[str, LyktaError] = {}
    for name in SERVICES:
        try:
            answers[name] = _with_word(layout, status_of(layout.socket(name, "ctl")), name)
        except UnreachableError as problem:
            missing[name] = problem
    return answers, missing


def _with_word(layout: Layout, status: ServiceStatus, name: str) -> ServiceStatus:
    """While a visit lasts also the word that its page asks for."""
    if status.standing.reason != "visit":
        return status
    word = str(ask(layout.socket(name, "ctl"), {"verb": "visit"}).get("word", ""))
    return msgspec.structs.replace(status, detail={**status.detail, "visit_word": word})


def _why(layout: Layout, service: str) -> str:
    """How the service ended, if the service manager's hook left word."""
    word = last(layout, service)
    return "" if word is None else reason(service, word) or f"{word.result} {word.status}".strip()


def _show_status(layout: Layout, answers: dict[str, ServiceStatus], missing: dict[str, LyktaError], as_json: bool) -> None:
    why = {name: _why(layout, name) for name in missing}
    table = table_of("service", "state", "reason", "since", "until", "owner", "detail")
    for name in SERVICES:
        if name in missing:
            table.add_row(name, str(missing[name]).removeprefix(f"{name}: "), why[name], "", "", "technician", missing[name].hint)
            continue
        standing = answers[name].standing
        shown = {key: value for key, value in answers[name].detail.items() if value not in ("", None, {})}
        numbers = ", ".join(f"{key} {printable(value)}" for key, value in shown.items())
        when = [_minute(standing.since), _minute(standing.until)]
        table.add_row(name, standing.state, standing.reason, *when, standing.owner, numbers)
    facts = node_facts(layout, datetime.now(UTC))
    if not as_json:
        show("status", {}, _node_table(facts), as_json)
    services = {"services": msgspec.to_builtins(answers), "not_reachable": list(missing), "why": why}
    show("status", msgspec.to_builtins(facts) | services, table, as_json)


def _node_table(facts: NodeFacts) -> Table:
    table = table_of("", "")
    table.add_row("node", f"{facts.node or 'unknown'}, lykta {facts.version}")
    for record in facts.records:
        end = f"until {record.end:%Y-%m-%d %H:%M} UTC" if record.end else ""
        table.add_row(record.kind, ", ".join(word for word in (record.id, end, record.trouble) if word))
    return table


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def help_test(layout: Layout, as_json: bool) -> None:
    name = ask(layout.socket("io", "ctl"), {"verb": "help_test"}).get("test")
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
    """From the spool's index; what it lacks from the manifests, and those that cannot be read are named.

    Signatures are not checked here: `clips verify` does that.
    """
    names, known = clip_names(layout.spool, "manifest.jws") if layout.spool.is_dir() else [], read_cards(layout.spool / "index")
    cards, damaged = [], {}
    for name in strange_names(layout.spool) if layout.spool.is_dir() else []:
        note(f"{name}: is no clip")
    for clip in names:
        try:
            cards.append(known.get(clip) or Card.of(read_manifest(layout, clip)))
        except (OSError, LyktaError) as problem:
            damaged[clip] = str(problem)
            note(f"{clip}: {problem}")
    if as_json:
        clips = [msgspec.to_builtins(card) | {"held": _held(layout, card.clip)} for card in cards]
        sys.stdout.write(json.dumps({"schema": "lykta.clips/1", "clips": clips, "damaged": damaged}) + "\n")
        return
    # Not a rich table: ten thousand rows would take it four seconds.
    line = "{:36}  {:19}  {:>7}  {:>6}  {:10}  {:8}  {:>10}  {:16}  {}\n"
    sys.stdout.write(line.format("clip", "begin (UTC)", "seconds", "frames", "trigger", "state", "bytes", "delete at", "hold"))
    for card in cards:
        seconds, last = f"{(card.end - card.begin).total_seconds():.1f}", f"{card.deadline:%Y-%m-%d %H:%M}"
        facts = (
            seconds,
            card.frames,
            printable(card.trigger),
            card.state,
            card.size,
            last,
            "held" if _held(layout, card.clip) else "",
        )
        sys.stdout.write(line.format(card.clip, f"{card.begin:%Y-%m-%d %H:%M:%S}", *facts))


def _held(layout: Layout, clip: str) -> bool:
    """Whether an order holds it: then it stays beyond its deadline and its receipt."""
    return os.path.exists(f"{layout.spool}/{clip}/hold.jws")  # noqa: PTH110 - ten thousand at once


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
        except (OSError, LyktaError) as problem:
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
    return verified(read(path, f"{clip}: manifest.jws"), load_authority(layout))[0]
