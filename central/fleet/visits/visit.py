"""A stop that somebody has to go to."""

from __future__ import annotations

from msgspec import Struct


class Visit(Struct, frozen=True):
    """One node that needs a visit, and why.

    node      "site/node"; stop, area: as it described itself last, "" if it did not
    cause     a stable code, "unknown" if nothing explains what is seen
    reasons   what speaks for the cause: names of alarms, codes of reasons or plain sentences
    bring     what to bring, likewise
    since_ms  since when, milliseconds since 1970
    """

    node: str
    stop: str
    area: str
    cause: str
    reasons: tuple[str, ...]
    bring: tuple[str, ...]
    since_ms: int
