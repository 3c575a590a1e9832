"""The files of docs/mqtt: the AsyncAPI document and the JSON Schemas."""

from __future__ import annotations

from central.fleet.contract import asyncapi, schemas
from central.fleet.contract.schemas import Json


def documents() -> dict[str, Json]:
    """By the name of the file."""
    return {"asyncapi.json": asyncapi.document(), **{f"{name}.schema.json": one for name, one in schemas.files().items()}}
