"""The facts for the uplink's alarms: from the health groups, the services' statuses, and the ends of certificates and basis."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime

from agent.inbox.applied import KINDS, last_judgement
from agent.messages import State
from agent.runtime.config import Config
from agent.runtime.status import CameraStatus, IoStatus, Status, UplinkStatus
from agent.uplink.health.alarms import AlarmFacts
from agent.uplink.health.groups import Groups
from privacy.errors import LyktaError
from privacy.files import read_own
from privacy.records.jws import load_chain
from provisioning.identity import TLS_AND_UNITS, load_records
from provisioning.layout import Layout

_HOUR_S = 3600.0
_WORN = 2
"""State of an eMMC's spare blocks from which it counts as worn out: 80 % of them are used."""


class AlarmWatch:
    """Used by the health thread. Certificates and basis are read once an hour."""

    def __init__(
        self, layout: Layout, config: Config, now: Callable[[], datetime], mono_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._layout, self._config, self._now, self._mono_s = layout, config, now, mono_s
        self._refusals: deque[tuple[float, int]] = deque()
        self._ends: tuple[datetime | None, datetime | None] = (None, None)
        self._read_s: float | None = None

    def facts(self, groups: Groups, statuses: Mapping[str, Status], state: State | None) -> AlarmFacts:
        """state: of the node, as told last."""
        camera, io, uplink = statuses.get("camera"), statuses.get("io"), statuses.get("uplink")
        disk, (basis, certificate) = groups["storage"].values, self._ends_now()
        trusted = groups["clock"].values.get("trusted")
        return AlarmFacts(
            temperature_c=groups["system"].values.get("temperature_c"),
            undervoltage=groups["power"].values.get("undervoltage"),
            life_used=1.0 if (disk.get("end_of_life") or 0) >= _WORN else disk.get("life_used"),
            used_share=disk.get("used_share"),
            read_only=disk.get("read_only"),
            untrusted=None if trusted is None else not trusted,
            full_share=self._full_share(camera),
            leaks=camera.breach_candidates if isinstance(camera, CameraStatus) else None,
            self_test_failed=None if state is None else state.reason == "self_test_failed",
            basis_days=self._days(basis),
            certificate_days=self._days(certificate),
            refused=self._refused(),
            damaged_journals=sum(uplink.journals_aside.values()) if isinstance(uplink, UplinkStatus) else None,
            commands=self._commands(io, uplink),
            budget_used=uplink.budget_used if isinstance(uplink, UplinkStatus) else None,
            unanswered=io.unanswered if isinstance(io, IoStatus) else None,
            door_open=io.parts["door"] == "open" if isinstance(io, IoStatus) and "door" in io.parts else None,
        )

    def _full_share(self, camera: Status | None) -> float | None:
        """Without what is wanted: the profile `full`, and the nights of a stop without light."""
        if not isinstance(camera, CameraStatus) or camera.full_share is None or self._config.mask.profile == "full":
            return None
        dark = 0.0 if self._config.camera.dark_minutes else camera.full_share_by_cause.get("dark", 0.0)
        return camera.full_share - dark

    def _refused(self) -> tuple[str, ...] | None:
        try:
            notes = {kind: last_judgement(self._layout, kind) for kind in KINDS}
        except (OSError, LyktaError):
            return None
        return tuple(kind for kind, note in notes.items() if note and note.result == "refused")

    def _commands(self, io: Status | None, uplink: Status | None) -> int | None:
        """Refused and ignored in the last hour; a service that started again counts from zero, and the hour with it."""
        if not (isinstance(io, IoStatus) and isinstance(uplink, UplinkStatus)):
            return None
        now_s, total = self._mono_s(), io.commands_refused + uplink.ignored_commands
        if self._refusals and total < self._refusals[-1][1]:
            self._refusals.clear()
        self._refusals.append((now_s, total))
        while now_s - self._refusals[0][0] > _HOUR_S:
            self._refusals.popleft()
        return total - self._refusals[0][1]

    def _days(self, end: datetime | None) -> float | None:
        return None if end is None else (end - self._now()).total_seconds() / 86_400

    def _ends_now(self) -> tuple[datetime | None, datetime | None]:
        now_s = self._mono_s()
        if self._read_s is None or now_s - self._read_s >= _HOUR_S:
            self._read_s, self._ends = now_s, (self._basis_end(), self._certificate_end())
        return self._ends

    def _basis_end(self) -> datetime | None:
        try:
            return load_records(self._layout)[0].end
        except (OSError, LyktaError):
            return None

    def _certificate_end(self) -> datetime | None:
        """The first end among this node's certificates."""
        ends = []
        for unit in TLS_AND_UNITS:
            try:
                ends.append(load_chain(read_own(self._layout.certificates / f"{unit}.pem"))[0].not_valid_after_utc)
            except (OSError, LyktaError):
                continue
        return min(ends, default=None)
