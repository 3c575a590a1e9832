"""What SQLite and PostgreSQL write differently: a field of a JSON text, and bytes inside bytes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Float, LargeBinary, cast, func, literal
from sqlalchemy.dialects.postgresql import JSON


def field(connection: Connection, column: Any, name: str, *, number: bool = False) -> Any:
    """A field of an object that is stored as JSON text, as text or number; null if there is none or the text is empty."""
    filled = func.nullif(column, "")
    if connection.dialect.name == "sqlite":
        return func.json_extract(filled, f'$."{name}"')
    found = cast(filled, JSON)[name].astext
    return cast(found, Float) if number else found


def holds(connection: Connection, column: Any, part: bytes) -> Any:
    """Whether bytes contain a part."""
    wanted = literal(part, LargeBinary)
    if connection.dialect.name == "sqlite":
        return func.instr(column, wanted) > 0
    return func.position(wanted.op("IN")(column)) > 0
