"""`lykta status`: identity of this node, and what its services do, why and since when."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from msgspec import Struct
from rich.table import Table

from agent.commands.options import Json
from agent.runtime.ask_status import status_of
from agent.runtime.control import ask
from agent.runtime.exit_report import last, reason
from agent.runtime.requests import AskVisitWord
from agent.runtime.settings_in_force import effective
from agent.runtime.status import Status, StatusAnswer
from agent.terminal import show, table_of
from privacy.errors import LyktaError, UnreachableError
from privacy.foreign import printable
from provisioning.identity import check_revoked, load_records
from provisioning.layout import SERVICES, Layout
from provisioning.version import VERSION

app = typer.Typer(add_completion=False)


@app.command()
def status(
    as_json: Json = False, watch: Annotated[bool, typer.Option("--watch", help="again each second, until Ctrl-C")] = False
) -> None:
    """What the three services do, why and since when."""
    _status(Layout.from_environment(), as_json, watch)


def _status(layout: Layout, as_json: bool, watch: bool) -> None:
    """Exit code 0 if all three answer, else 4; the services that answer are shown in any case."""
    while True:
        answers, missing = _ask_all(layout)
        _show_status(layout, answers, missing, as_json)
        if not watch:
            break
        time.sleep(1.0)
    if missing:
        first = next(iter(missing.values()))
        raise UnreachableError("; ".join(map(str, missing.values())), first.hint)


def _ask_all(layout: Layout) -> tuple[dict[str, StatusAnswer[Status]], dict[str, LyktaError]]:
    answers: dict[str, StatusAnswer[Status]] = {}
    missing: dict[str, LyktaError] = {}
    for name in SERVICES:
        try:
            answers[name] = _with_word(layout, status_of(layout, name), name)
        except UnreachableError as problem:
            missing[name] = problem
    return answers, missing


def _with_word(layout: Layout, status: StatusAnswer[Status], name: str) -> StatusAnswer[Status]:
    """The status, during a visit with the access word that the visit's page asks for."""
    if status.standing.reason != "visit":
        return status
    word = ask(layout.socket(name, "ctl"), AskVisitWord()).word
    return msgspec.structs.replace(status, detail=msgspec.structs.replace(status.detail, visit_word=word or ""))


def _why(layout: Layout, service: str) -> str:
    """How the service ended, if systemd's failure hook left a report; else ""."""
    word = last(layout, service)
    return "" if word is None else reason(service, word) or f"{word.result} {word.status}".strip()


def _show_status(layout: Layout, answers: dict[str, StatusAnswer[Status]], missing: dict[str, LyktaError], as_json: bool) -> None:
    why = {name: _why(layout, name) for name in missing}
    table = table_of("service", "state", "reason", "since", "until", "owner", "detail")
    for name in SERVICES:
        if name in missing:
            table.add_row(name, str(missing[name]).removeprefix(f"{name}: "), why[name], "", "", "technician", missing[name].hint)
            continue
        standing = answers[name].standing
        numbers = ", ".join(f"{key} {printable(value)}" for key, value in _flat(answers[name].detail).items())
        when = [_minute(standing.since), _minute(standing.until)]
        table.add_row(name, standing.state, standing.reason, *when, standing.owner, numbers)
    facts = node_facts(layout, datetime.now(UTC))
    if not as_json:
        show("status", {}, _node_table(facts), as_json)
    services = {"services": msgspec.to_builtins(answers), "not_reachable": list(missing), "why": why}
    show("status", msgspec.to_builtins(facts) | services, table, as_json)


def _flat(status: Status) -> dict[str, object]:
    """Values of a status that are set, those of a dictionary each by its own name."""
    found: dict[str, object] = {}
    for key, value in msgspec.to_builtins(status).items():
        found |= {f"{key} {name}": one for name, one in value.items()} if isinstance(value, dict) else {key: value}
    return {key.removeprefix("parts "): value for key, value in found.items() if value not in ("", None)}


def _node_table(facts: NodeFacts) -> Table:
    table = table_of("", "")
    table.add_row("node", f"{facts.node or 'unknown'}, lykta {facts.version}")
    for record in facts.records:
        end = f"until {record.end:%Y-%m-%d %H:%M} UTC" if record.end else ""
        table.add_row(record.kind, ", ".join(word for word in (record.id, end, record.trouble) if word))
    return table


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


class InForce(Struct, frozen=True):
    """A record by kind and id. end: of the basis only, the others have none. trouble: why it is not in force, or ""."""

    kind: str
    id: str
    end: datetime | None = None
    trouble: str = ""


class NodeFacts(Struct, frozen=True):
    """node: SITE/ID, "" if lykta.toml does not give it."""

    node: str
    version: str
    records: tuple[InForce, ...]


def node_facts(layout: Layout, now: datetime) -> NodeFacts:
    """Never raises: what cannot be read is reported as trouble."""
    try:
        settings = effective(layout)
    except LyktaError as problem:
        return NodeFacts("", VERSION, (InForce("config", "", trouble=str(problem)), *_records(layout, now)))
    node, trouble = settings.config.node, str(settings.trouble or "")
    config = (InForce("config", f"version {settings.version}", trouble=trouble),) if settings.version or trouble else ()
    return NodeFacts(f"{node.site}/{node.id}", VERSION, (*_records(layout, now), *config))


def _records(layout: Layout, now: datetime) -> tuple[InForce, ...]:
    try:
        basis, view = load_records(layout)
    except LyktaError as problem:
        return (InForce("records", "", trouble=str(problem)),)
    over = "is over" if now >= basis.end else "not yet in force" if now < basis.begin else _revoked(layout, basis.id)
    return (InForce("basis", basis.id, basis.end, over), InForce("view", view.id, trouble=_revoked(layout, view.id)))


def _revoked(layout: Layout, name: str) -> str:
    """Why a record is no longer in force, or why that cannot be known."""
    try:
        check_revoked(layout, name)
    except LyktaError as problem:
        return str(problem)
    return ""
