"""`lykta journal`: the signed chains of the node's units, for a person on site."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from agent.commands.options import Json
from agent.terminal import show, table_of
from privacy.errors import RecordError, UsageError
from privacy.records.chains import Chain, CrossCheck, cross_check, verify_chain
from privacy.records.journal import Entry
from provisioning.identity import UNITS, load_authority
from provisioning.layout import Layout

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The signed journals of this node's units.")


@app.command("show")
def journal_show(
    unit: Annotated[str, typer.Argument(help="camera, io, uplink or retention; all without it")] = "",
    last: Annotated[int, typer.Option("--last", min=1, help="so many of the newest entries")] = 20,
    as_json: Json = False,
) -> None:
    """The newest entries, verified."""
    layout = Layout.from_environment()
    if unit and unit not in UNITS:
        raise UsageError(f"journal: no such unit (got {unit!r})", f"known: {', '.join(UNITS)}")
    chains = _chains(layout)
    entries = [entry for name, chain in chains.items() if unit in ("", name) for entry in chain.entries]
    newest = sorted(entries, key=lambda entry: (entry.t, entry.unit, entry.number))[-last:]
    table = table_of("time (UTC)", "unit", "entry", "kind", "facts")
    for entry in newest:
        facts = ", ".join(f"{name} {value}" for name, value in entry.facts.items() if value not in ("", None))
        table.add_row(f"{entry.t:%Y-%m-%d %H:%M:%S}", entry.unit, str(entry.number), entry.kind, facts)
    show("journal", {"entries": [msgspec.to_builtins(entry) for entry in newest]}, table, as_json)


@app.command("verify")
def journal_verify(as_json: Json = False) -> None:
    """Hold each chain against its signatures and against what the other units noted of it; exit 5 at the first that fails."""
    layout = Layout.from_environment()
    chains, crossed = _linked(layout)
    table = table_of("unit", "entries", "last", "head")
    facts: dict[str, Any] = {}
    for unit, chain in chains.items():
        facts[unit] = {"length": chain.head.length, "sha256": chain.head.sha256, "last": _time(chain.entries)}
        table.add_row(unit, str(chain.head.length), str(_time(chain.entries) or ""), str(chain.head))
    table.add_row("all", "", "", f"good; {crossed.held} heads noted by the others hold")
    for claim in crossed.claims:
        table.add_row("claim", "", "", claim)
    said = {"valid": True, "heads_held": crossed.held, "claims": list(crossed.claims), "units": facts}
    show("journal-verify", said, table, as_json)


def _linked(layout: Layout) -> tuple[dict[str, Chain], CrossCheck]:
    """The chains, and how many cross-references hold. Read twice after a mismatch, as a service may write between two reads."""
    try:
        chains = _chains(layout)
        crossed = cross_check(chains, load_authority(layout))
        if not crossed.claims:
            return chains, crossed
    except RecordError:
        pass
    chains = _chains(layout)
    return chains, cross_check(chains, load_authority(layout))


def _chains(layout: Layout) -> dict[str, Chain]:
    authority = load_authority(layout)
    return {unit: verify_chain(layout.journal(unit), unit, authority) for unit in UNITS}


def _time(entries: tuple[Entry, ...]) -> str | None:
    return f"{entries[-1].t:%Y-%m-%d %H:%M:%S}" if entries else None
