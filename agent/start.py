"""Entry point of `lykta`: prints errors with hint and exit code. A service starts without the command line's libraries."""

from __future__ import annotations

import os
import sys

from agent.services import serve
from drivers import stderr
from privacy.errors import LyktaError
from provisioning.layout import SERVICES


def main() -> None:
    # No file is writable by all users, whoever starts the program; the units restrict more.
    os.umask(os.umask(0o077) | 0o022)
    try:
        if len(sys.argv) == 2 and sys.argv[1] in SERVICES:
            sys.exit(serve(sys.argv[1]))
        from agent.commands.main import app
        from drivers.command_line import exit_code_of

        sys.exit(exit_code_of(app))
    except LyktaError as problem:
        stderr.error(problem)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
