"""Runs a service by its name, without importing the command line's libraries, which would stay in its memory."""

from __future__ import annotations

import sys
from importlib import import_module

from provisioning.layout import Layout


def serve(service: str) -> int:
    """Run a service until it ends; its exit code."""
    if service == "io":
        # hashlib then takes Python's own SHA-2: OpenSSL's would keep 4 MB for the few bytes that io hashes.
        sys.modules["_hashlib"] = None  # type: ignore[assignment]
    code: int = import_module(f"agent.{service}.service").serve(Layout.from_environment())
    return code
