"""`lykta camera` with a detector that is broken in one way: python -m tests.support.broken_camera NAME [at-start].

Without at-start it does its work twice, for the self-test, and breaks then.
"""

from __future__ import annotations

import sys

from agent.camera.service import installed_detector, run
from agent.runtime.service import Runtime, run_service
from privacy.masking.detection import Detection, Detector
from privacy.masking.frames import Frame
from provisioning.layout import Layout
from tests.support import scenes


class Breaking:
    """Another detector's first two answers, and then one of the broken ones."""

    def __init__(self, good: Detector, broken: Detector) -> None:
        self.name, self.models, self.parts, self._detectors = good.name, good.models, good.parts, [good, good]
        self._broken = broken

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        return (self._detectors.pop() if self._detectors else self._broken).detect(frame)


def open_detector(runtime: Runtime, long_side: int) -> Detector:
    good, broken = installed_detector(runtime, long_side), getattr(scenes, sys.argv[1])()
    return broken if "at-start" in sys.argv else Breaking(good, broken)


if __name__ == "__main__":
    sys.exit(run_service("camera", Layout.from_environment(), lambda runtime: run(runtime, open_detector)))
