"""A power cut before any step of this process that reaches the disk. The steps are the system's, not ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Cut(BaseException):
    """The power goes."""


@contextmanager
def power_cut(after: int) -> Iterator[list[str]]:
    """Steps are renames, unlinks and syncs; before number `after` comes `Cut`. The list names those that were done."""
    done: list[str] = []
    real = {name: getattr(os, name) for name in ("rename", "unlink", "fsync")} | {"replace": Path.replace}

    def stepping(name: str) -> Any:
        def step(*words: Any, **named: Any) -> Any:
            if len(done) == after:
                raise Cut(name)
            done.append(name)
            return real[name](*words, **named)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "unlink", "fsync"):
            patch.setattr(os, name, stepping(name))
        patch.setattr(Path, "replace", stepping("replace"))
        yield done
