"""Names that sort by time: UUID version 7 (RFC 9562 section 5.7)."""

from __future__ import annotations

import os
from uuid import UUID


def uuid7(ms: int, random: bytes | None = None) -> str:
    """Milliseconds since 1970 (taken within 48 bits), then 74 bits of `random` (ten bytes or more), drawn anew if it is None."""
    bits = int.from_bytes((random or os.urandom(10))[:10], "big")
    at = max(0, ms) & (1 << 48) - 1
    return str(UUID(int=at << 80 | 0x7 << 76 | (bits >> 62 & 0xFFF) << 64 | 0b10 << 62 | bits & (1 << 62) - 1))


def new_clip_id(wall_ns: int) -> str:
    """Of a clip that begins then: nanoseconds since 1970."""
    return uuid7(wall_ns // 1_000_000)


def time_of(name: str) -> int | None:
    """The time in such a name, milliseconds since 1970; None for another name."""
    try:
        found = UUID(name)
    except ValueError:
        return None
    return found.int >> 80 if found.version == 7 else None
