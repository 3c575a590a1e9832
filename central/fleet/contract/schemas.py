"""JSON Schemas (2020-12) of what a node sends and reads, generated from the types that node and centre themselves use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from agent.messages import Message
from privacy.records.basis import BASIS, VIEW, Basis, View
from privacy.records.command import COMMAND, Command
from privacy.records.order import ORDER, Order
from privacy.records.settings import CONFIG, Settings

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PEM = "cert/{unit}/desired"
"""The topic of a renewed certificate: text in PEM, which has no schema."""


class Record(NamedTuple):
    """A signed record that a node reads. topic: after site and node; typ: of the JWS header; payload: type of its payload."""

    topic: str
    typ: str
    payload: type
    retain: bool


RECORDS = {
    "command": Record("cmd/{name}", COMMAND, Command, retain=False),
    "order": Record("order/{number}", ORDER, Order, retain=True),
    "basis": Record("basis/desired", BASIS, Basis, retain=True),
    "view": Record("view/desired", VIEW, View, retain=True),
    "config": Record("config/desired", CONFIG, Settings, retain=True),
}


def files() -> dict[str, Json]:
    """One schema a file: every message of a node, and the payload of each signed record that it reads. Keys: names of the files."""
    kinds = {"message": Message} | {name: record.payload for name, record in RECORDS.items()}
    return {name: {"$schema": DIALECT, "$id": f"urn:lykta:v1:{name}", **schema_of(kind)} for name, kind in kinds.items()}


def schema_of(kind: Any) -> Json:
    """The JSON Schema of a type, with patterns that mean the same in ECMAScript."""
    found: Json = portable(msgspec.json.schema(kind))
    return found


def portable(node: Any) -> Any:
    """The same schema with patterns as ECMA-262 writes them, which JSON Schema asks for.

    Python's `$` also matches before a last line feed, which our patterns exclude by `\\A…\\Z` or a lookahead.
    """
    return rewritten(node, lambda one: {**one, "pattern": _ecma(one["pattern"])} if isinstance(one.get("pattern"), str) else one)


def rewritten(node: Any, change: Callable[[Json], Json]) -> Any:
    """A copy of a JSON value in which `change` has replaced each object, the inner ones first."""
    if isinstance(node, dict):
        return change({key: rewritten(value, change) for key, value in node.items()})
    return [rewritten(one, change) for one in node] if isinstance(node, list) else node


def _ecma(pattern: str) -> str:
    return pattern.replace("\\A", "^").replace("\\Z", "$").replace("$(?!\\n)", "$")
