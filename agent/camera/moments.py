"""When a picture was taken, as a moment in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

SECOND = 1_000_000_000
"""Nanoseconds."""


def moment(wall_ns: int) -> datetime:
    """wall_ns: nanoseconds since 1970, as a frame has them."""
    return datetime.fromtimestamp(wall_ns / SECOND, UTC)
