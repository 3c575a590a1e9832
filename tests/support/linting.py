"""What `make check` says of a line that somebody might write."""

from __future__ import annotations

import subprocess
import sys

from tests.support.nodes import PROJECT


def banned(text: str, name: str) -> str:
    """ruff's answer about banned names (TID251) in a file of this name with this text."""
    words = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "TID251",
        "--output-format",
        "concise",
        "--stdin-filename",
        name,
        "-",
    ]
    return subprocess.run(words, input=text, capture_output=True, text=True, check=False, cwd=PROJECT).stdout
