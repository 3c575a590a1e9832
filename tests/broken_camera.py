"""`lykta camera` with a detector that is broken in one way: python -m tests.broken_camera NAME."""

from __future__ import annotations

import sys

from agent.camera import body
from agent.service import run_service
from provisioning.layout import Layout
from tests import scenes

if __name__ == "__main__":
    kind = getattr(scenes, sys.argv[1])
    sys.exit(run_service("camera", Layout.from_environment(), lambda runtime: body(runtime, lambda _runtime: kind())))
