"""What the node says of itself: name, sensors, software, commands, records in force, and when certificates end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from agent.inbox.applied import KINDS, Kind, id_in_force, place_of
from agent.messages import Describe, HealthGroup, RecordInForce
from agent.runtime.config import Config, fitted
from drivers import board
from privacy.errors import RecordError
from privacy.files import changed_mark, read_own
from privacy.records.basis import BASIS, Basis
from privacy.records.command_table import all_arguments
from privacy.records.jws import load_chain, peek
from provisioning.identity import TLS_AND_UNITS
from provisioning.layout import Layout
from provisioning.version import VERSION

_Marks = tuple[tuple[int, int] | None, ...]


class Describer:
    """Called each second: reads records and certificates only when their files changed.

    breaks     links to the broker that ended in this run, by cause
    intervals  seconds between two messages of a group of health numbers
    """

    def __init__(
        self, layout: Layout, config: Config, breaks: Callable[[], dict[str, int]], intervals: dict[HealthGroup, int]
    ) -> None:
        self._layout, self._breaks = layout, breaks
        self._fixed = _fixed(config, intervals)
        self._files = [*(place_of(layout, kind) for kind in KINDS), *(_certificate(layout, unit) for unit in TLS_AND_UNITS)]
        self._marks: _Marks | None = None
        self._present = self._fixed
        self._sent: Describe | None = None

    def due(self, *, birth: bool) -> list[Describe]:
        """The description to send: at birth, and when it differs from the one marked by `mark_sent`."""
        found = msgspec.structs.replace(self._of_files(), breaks=self._breaks())
        return [found] if birth or found != self._sent else []

    def mark_sent(self, said: list[Describe]) -> None:
        self._sent = said[-1] if said else self._sent

    def _of_files(self) -> Describe:
        marks = tuple(map(changed_mark, self._files))
        if marks != self._marks:
            self._marks, self._present = marks, _in_force(self._layout, self._fixed)
        return self._present


def _fixed(config: Config, intervals: dict[HealthGroup, int]) -> Describe:
    """What does not change while the service runs."""
    camera = "camera: " + ("picamera2" if config.camera.source == "picamera2" else "video file")
    return Describe(
        model=board.model(),
        serial=_serial(),
        sensors=(camera, *fitted(config.pins)),
        software=f"lykta {VERSION}",
        schemas={"message": 1, "manifest": 1},
        commands=all_arguments(),
        area=config.node.area,
        intervals=intervals,
    )


def _serial() -> str:
    try:
        return board.serial()
    except OSError:  # no Pi
        return ""


def _in_force(layout: Layout, fixed: Describe) -> Describe:
    basis = _basis(layout)
    return msgspec.structs.replace(
        fixed,
        stop=basis.stop if basis else "",
        records={kind: RecordInForce(name, _end(kind, basis)) for kind in KINDS if (name := id_in_force(layout, kind))},
        certificates={unit: _certificate_end(layout, unit) for unit in TLS_AND_UNITS},
    )


def _basis(layout: Layout) -> Basis | None:
    """The basis in force, unverified: for display, not for decisions. None if absent or damaged."""
    try:
        return peek(read_own(layout.basis), BASIS, Basis)
    except (OSError, RecordError):
        return None


def _end(kind: Kind, basis: Basis | None) -> datetime | None:
    """Only a basis has an end of its own."""
    return basis.end if kind == "basis" and basis else None


def _certificate(layout: Layout, unit: str) -> Path:
    return layout.certificates / f"{unit}.pem"


def _certificate_end(layout: Layout, unit: str) -> datetime | None:
    try:
        return load_chain(read_own(_certificate(layout, unit)))[0].not_valid_after_utc
    except (OSError, RecordError):
        return None
