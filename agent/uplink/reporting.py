"""The node's reports on records and settings: what is in force, and the result for each desired record."""

from __future__ import annotations

from agent.inbox.applied import KINDS, Kind, id_in_force, last_judgement, note_of, place_of
from agent.messages import CertificateWanted, Reported
from privacy.errors import RecordError
from privacy.files import changed_mark, read
from provisioning.identity import TLS_AND_UNITS, renewal_of
from provisioning.layout import Layout

_Seen = tuple[tuple[int, int] | None, ...]


class Reporter:
    """Called each second: reads the files only when they changed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._seen: dict[Kind, _Seen] = {}
        self._sent: dict[Kind, Reported] = {}

    def due(self, *, birth: bool) -> list[Reported]:
        """The reports to send: all at birth, else those that changed since they were marked by `mark_sent`."""
        return [said for kind in KINDS if (said := self._of(kind)) != self._sent.get(kind) or birth]

    def mark_sent(self, said: list[Reported]) -> None:
        self._sent |= {one.what: one for one in said}

    def _of(self, kind: Kind) -> Reported:
        seen = tuple(map(changed_mark, (place_of(self._layout, kind), note_of(self._layout, kind))))
        if kind not in self._sent or seen != self._seen.get(kind):
            self._seen[kind] = seen
            return reported(self._layout, kind)
        return self._sent[kind]


class CertificateRequests:
    """The pending certificate requests of units for their next key."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._sent: dict[str, tuple[int, int] | None] = {}

    def due(self, *, birth: bool) -> list[CertificateWanted]:
        """Requests not yet marked by `mark_sent`; all at birth."""
        waiting = {unit: changed_mark(renewal_of(self._layout, unit)) for unit in TLS_AND_UNITS}
        units = [unit for unit, mark in waiting.items() if mark and (birth or mark != self._sent.get(unit))]
        return [CertificateWanted(unit, wish) for unit in units if (wish := self._wish(unit))]

    def _wish(self, unit: str) -> str:
        """The signed request; "" if it is damaged: root makes a new one."""
        try:
            return read(renewal_of(self._layout, unit), "renewal").decode("ascii")
        except (OSError, RecordError, UnicodeDecodeError):
            return ""

    def mark_sent(self, said: list[CertificateWanted]) -> None:
        self._sent |= {one.unit: changed_mark(renewal_of(self._layout, one.unit)) for one in said}


def reported(layout: Layout, kind: Kind) -> Reported:
    try:
        last = last_judgement(layout, kind)
    except RecordError as problem:
        return Reported(kind, id_in_force(layout, kind), "", "none", str(problem))
    if last is None:
        return Reported(kind, id_in_force(layout, kind), "", "none", "")
    return Reported(kind, id_in_force(layout, kind), last.desired, last.result, last.reason)
