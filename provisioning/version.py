"""The version of the program: its one place, from which pyproject.toml takes it.

`importlib.metadata` would read it from the installed package, for a megabyte of modules in the memory of the uplink.
"""

from __future__ import annotations

VERSION = "0.1.0"
