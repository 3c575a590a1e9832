"""The result of a check."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    group: str
    result: Literal["ok", "warn", "fail"]
    what: str
    hint: str = ""
