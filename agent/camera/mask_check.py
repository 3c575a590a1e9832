"""Checks of the mask while the node films: the self-test at start and daily, the leak audit in idle time (R25, R40)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from agent.camera.moments import moment
from agent.messages import Breach
from agent.outbox.backlog import Work
from agent.outbox.telling import Telling
from agent.runtime.service import Runtime
from privacy.masking.audit import Candidate, LeakAudit
from privacy.masking.detection import Detector
from privacy.masking.frames import MaskedFrame
from privacy.masking.masker import Masker
from privacy.masking.self_test import require

DAY_MS = 86_400_000
_IDLE_S = 0.5
AUDIT_STALLED_S = 300.0
"""Time for opening the audit's network, and for each of its detections."""


class MaskFacts(NamedTuple):
    """Minutes since the self-test passed, frames audited (None before the audit's network is open), candidates found."""

    self_test_minutes: int
    audited: int | None
    breach_candidates: int


class MaskCheck:
    """One per camera service.

    open_auditor   opens the audit's own detector; called by the audit's thread, so that filming does not wait for it
    defer          queues writes for the keeper's thread
    """

    def __init__(
        self,
        runtime: Runtime,
        telling: Telling,
        detector: Detector,
        open_auditor: Callable[[], Detector],
        defer: Callable[[Work], None],
    ) -> None:
        self._runtime, self._telling, self._detector, self._defer = runtime, telling, detector, defer
        self._open_auditor = open_auditor
        self._audit: LeakAudit | None = None
        self._tested_ms = 0
        self.candidates = 0

    @property
    def facts(self) -> MaskFacts:
        """For the status."""
        age = (self._runtime.clock.mono_ms() - self._tested_ms) // 60_000
        return MaskFacts(age, self._audit.looked if self._audit else None, self.candidates)

    def test(self) -> None:
        """The self-test; `ModelError` (exit 5: the service stays down) if it fails."""
        checks = require(self._detector)
        self._tested_ms = self._runtime.clock.mono_ms()
        self._defer(lambda: self._telling.note("self_test", stack=self._detector.name, passed=len(checks)))

    def looked(self) -> None:
        """After each detection, on the detector's thread: the daily self-test, when it is due."""
        if self._runtime.clock.mono_ms() - self._tested_ms >= DAY_MS:
            self.test()

    def painted(self, picture: MaskedFrame, masker: Masker) -> None:
        """Give the audit a sample of a masked frame now and then."""
        if self._audit and not picture.full and self._audit.due(picture.mono_ns):
            self._audit.take(picture, masker.raster(picture.record))

    def run(self) -> None:
        """The audit's thread: at most one detection in thirty seconds, so that it needs no lower priority than the others."""
        audit = LeakAudit(self._open_auditor())
        self._audit = audit
        while not self._runtime.stop.wait(_IDLE_S):
            self._runtime.beat()
            for candidate in audit.step():
                self._report(candidate)

    def _report(self, candidate: Candidate) -> None:
        self.candidates += 1
        self._runtime.log("warning", "leak audit: somebody may be visible in a masked frame", frame=candidate.frame)
        breach = Breach(candidate.frame, candidate.visible, moment(candidate.wall_ns))
        self._defer(lambda: self._telling.note("breach_candidate", frame=breach.frame, visible=breach.visible))
        self._defer(lambda: self._telling.say(breach))
