"""Who this node is and which records are in force: for `lykta status`, also where no service runs and no record holds."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version

from msgspec import Struct

from agent.runtime.settings_in_force import effective
from privacy.errors import LyktaError
from provisioning.identity import check_revoked, load_records
from provisioning.layout import Layout


class InForce(Struct, frozen=True):
    """A record by kind and id. end: of the basis alone, the others have none. trouble: why it does not count, or ""."""

    kind: str
    id: str
    end: datetime | None = None
    trouble: str = ""


class NodeFacts(Struct, frozen=True):
    """node: SITE/ID, "" where lykta.toml does not say it."""

    node: str
    version: str
    records: tuple[InForce, ...]


def node_facts(layout: Layout, now: datetime) -> NodeFacts:
    """Never an error: what cannot be read stands as trouble."""
    try:
        settings = effective(layout)
    except LyktaError as problem:
        return NodeFacts("", version("lykta"), (InForce("config", "", trouble=str(problem)), *_records(layout, now)))
    node, trouble = settings.config.node, str(settings.trouble or "")
    config = (InForce("config", f"version {settings.version}", trouble=trouble),) if settings.version or trouble else ()
    return NodeFacts(f"{node.site}/{node.id}", version("lykta"), (*_records(layout, now), *config))


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
