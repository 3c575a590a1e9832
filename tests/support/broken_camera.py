"""`lykta camera` with a detector that is broken in one way: python -m tests.support.broken_camera NAME [at-start].

Without at-start it does its work for the self-test, whose drawn pictures have no time, and is broken for each of the camera's.
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
    """Another detector's answers for the self-test, and a broken one's for the camera."""

    def __init__(self, good: Detector, broken: Detector) -> None:
        self.name, self.models, self.parts = good.name, good.models, good.parts
        self._good, self._broken = good, broken

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        return (self._broken if frame.wall_ns else self._good).detect(frame)


def open_detector(runtime: Runtime, long_side: int) -> Detector:
    good, broken = installed_detector(runtime, long_side), getattr(scenes, sys.argv[1])()
    return broken if "at-start" in sys.argv else Breaking(good, broken)


if __name__ == "__main__":
    sys.exit(run_service("camera", Layout.from_environment(), lambda runtime: run(runtime, open_detector)))
