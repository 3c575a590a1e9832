"""One line of the list of visits."""

from __future__ import annotations

from msgspec import Struct


class Visit(Struct, frozen=True):
    """A node that somebody has to care for, and why.

    cause     id of `causes.CAUSES`; "unknown": the evidence singles out none
    reasons   what the cause rests on: keys of `texts.REASONS`, each with its value after a space; `texts.sentence` says them
    bring     what to bring, keys of `texts.ITEMS`; empty if no visit helps
    since_ms  when the trouble began as far as is known, milliseconds since 1970
    """

    node: str
    stop: str
    area: str
    cause: str
    reasons: tuple[str, ...]
    bring: tuple[str, ...]
    since_ms: int
