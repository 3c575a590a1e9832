"""What SQLite and PostgreSQL write differently: a field of a JSON text, and bytes inside bytes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Float, LargeBinary, case, cast, func, literal
from sqlalchemy.dialects.postgresql import JSON


def field(connection: Connection, column: Any, name: str, *, number: bool = False) -> Any:
    """A field of an object that is stored as JSON text, as text or number; null if there is none or the text is empty."""
    filled = func.nullif(column, "")
    if connection.dialect.name == "sqlite":
        return func.json_extract(filled, f'$."{name}"')
    # PostgreSQL has no text with this character, and would refuse the statement for one node's sake.
    safe = case((column.contains("\\u0000", autoescape=True), None), else_=filled)
    found = cast(safe, JSON)[name].astext
    return cast(found, Float) if number else found


def holds(connection: Connection, column: Any, part: bytes) -> Any:
    """Whether bytes contain a part."""
    wanted = literal(part, LargeBinary)
    if connection.dialect.name == "sqlite":
        return func.instr(column, wanted) > 0
    return func.position(wanted.op("IN")(column)) > 0
