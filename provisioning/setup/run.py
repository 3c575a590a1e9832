"""`python -m provisioning.setup.run`: model files and the demo video. Second step of `make setup`; idempotent."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from drivers import stderr
from privacy.errors import LyktaError
from privacy.masking.networks.models import STACKS
from provisioning.layout import CODE
from provisioning.setup import demo_video, models


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m provisioning.setup.run", description=__doc__)
    parser.add_argument("--models", type=Path, default=CODE / "out/models", help="folder for the model files")
    parser.add_argument("--video", type=Path, default=CODE / "out/demo-video/vtest.avi", help="file for the demo video")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--stack", default="", choices=["", *(stack.name for stack in STACKS)], help="this stack and no other")
    which.add_argument("--each", action="store_true", help="every available stack: a node uses the first of them")
    options = parser.parse_args()
    try:
        stacks = models.install_each(options.models) if options.each else [models.install(options.models, options.stack)]
        demo_video.install(options.video)
    except LyktaError as problem:
        stderr.error(problem)
        return problem.exit_code
    for stack in stacks:
        for file in stack.files:
            models.say(f"{stack.name}: {file.name}, {file.licence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
