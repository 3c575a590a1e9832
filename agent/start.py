"""Entry point of `lykta`: errors in the words of the design, with their exit code.

A service starts from here without the command line's libraries, which it would keep in memory for its whole life.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from privacy.errors import LyktaError
from privacy.foreign import error_lines
from provisioning.layout import Layout

SERVICES = ("camera", "io", "uplink")


def serve(service: str) -> int:
    """Run a service until it ends; its exit code."""
    if service == "io":
        # hashlib then takes Python's own SHA-2: OpenSSL's would keep 4 MB for the few bytes that io ever hashes.
        sys.modules["_hashlib"] = None  # type: ignore[assignment]
    code: int = import_module(f"agent.{service}").serve(Layout.from_environment())
    return code


def main() -> None:
    # Nothing is for everybody to write, whoever starts it; each unit says more.
    os.umask(os.umask(0o077) | 0o022)
    try:
        if len(sys.argv) == 2 and sys.argv[1] in SERVICES:
            sys.exit(serve(sys.argv[1]))
        from agent.main import app
        from drivers.command_line import ended

        sys.exit(ended(app))
    except LyktaError as problem:
        sys.stderr.write(error_lines(problem))
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
