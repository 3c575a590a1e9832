"""What is no file where a file should lie: links, pipes, devices, folders, giants, depth."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

DEEP = 1_200


def deep(folder: Path, levels: int = DEEP) -> None:
    """A folder in a folder in a folder, with a file at its end; deeper than any path may be long."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


TARGET = tempfile.NamedTemporaryFile(prefix="lykta-target-")  # noqa: SIM115 - there until the tests end
"""What links lead to: a file of this test's own, should anything write through them after all."""


def a_link(path: Path) -> None:
    path.symlink_to(TARGET.name)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "in it").write_bytes(b"x")


def a_giant(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


ODD: list[Callable[[Path], None]] = [a_link, a_pipe, a_device, a_folder, a_giant]
odd = pytest.mark.parametrize("odd", ODD, ids=lambda one: one.__name__)
