"""This node's clock: the machine's, not earlier than the node's own journals and certificates (R07)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent.runtime.config import Config
from drivers.clock import BEGINNING, SystemClock
from privacy.errors import LyktaError
from privacy.files import read_own
from privacy.records.journal import newest
from privacy.records.jws import load_chain
from provisioning.identity import UNITS, Unit
from provisioning.layout import Layout

TIME_ERROR_MS = {"synced": 1_000, "holdover": 60_000, "unknown": 86_400_000}
"""Bound of the error of the node's clock, by its state, as manifests and health state it."""


def clock_of(layout: Layout, config: Config, units: Sequence[str] = UNITS, service: str = "") -> SystemClock:
    """units: units whose journals are read; a service may read only its own. service: keeps the boot's first time in its folder."""
    kept = layout.run / service / "first-time.json" if service else None
    return SystemClock(config.clock.trust, floor_of(layout, [unit for unit in UNITS if unit in units]), kept=kept)


def floor_of(layout: Layout, units: Sequence[Unit]) -> datetime:
    """The newest time of the last entries and the certificates' start: the bundle gives a minimum before there is a journal.

    Unreadable files are ignored: `lykta check` names them, and help does not depend on them.
    """
    found = [BEGINNING]
    for unit in units:
        for ask in (_entry, _issue):
            try:
                found.append(ask(layout, unit))
            except (OSError, LyktaError):
                continue
    return max(found)


def _entry(layout: Layout, unit: Unit) -> datetime:
    return newest(layout.journal(unit), BEGINNING)


def _issue(layout: Layout, unit: Unit) -> datetime:
    return load_chain(read_own(layout.certificates / f"{unit}.pem"))[0].not_valid_before_utc
