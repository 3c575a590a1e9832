"""Runs a service by its name, without importing the command line's libraries, which would stay in its memory."""

from __future__ import annotations

import ctypes
import sys
from importlib import import_module
from typing import Any

from provisioning.layout import Layout

_OPTIONAL = ("bz2", "lzma", "typing_extensions")
"""Modules that the standard library and msgspec import if they are there, and do without: 0.7 MB that nothing here uses."""
_UNUSED = {
    # hashlib then takes Python's own SHA-2: OpenSSL's would keep 4 MB for the few bytes that io hashes.
    "io": ("_hashlib", *_OPTIONAL),
    "uplink": _OPTIONAL,
}
_M_ARENA_MAX = -8
"""mallopt(3), malloc.h: a thread of these two works for milliseconds, and would keep an arena of its own for it."""


def serve(service: str) -> int:
    """Run a service until it ends; its exit code."""
    code: int = load(service).serve(Layout.from_environment())
    return code


def load(service: str) -> Any:
    """The module of a service, in a process that is kept small for it."""
    if service in _UNUSED:
        sys.modules.update(dict.fromkeys(_UNUSED[service]))  # type: ignore[arg-type]  # None: an import of it fails
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    return import_module(f"agent.{service}.service")
