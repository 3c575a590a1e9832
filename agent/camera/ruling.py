"""Whether the lens may be open now, by this node's records and its clock."""

from __future__ import annotations

from drivers.clock import SystemClock
from privacy.records.basis import Permit, Ruling, rule


class Rulings:
    """One for the life of the service: a record that is replaced or revoked ends it."""

    def __init__(self, permit: Permit, clock: SystemClock) -> None:
        self._permit, self._clock = permit, clock

    def now(self) -> Ruling:
        """See `privacy.records.basis.rule`."""
        return rule(self._permit.basis, self._clock.now(), self._clock.trusted())
