"""Who may change a file: its owner and users with write permission, also of every folder above it and of link targets."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from provisioning.layout import CODE

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def changeable(path: str, owners: Collection[int] = (0,)) -> str:
    """Why another user than these owners may change the file at `path`, or "". The mode of a link itself does not count."""
    facts = os.lstat(path)
    if facts.st_uid not in owners:
        return f"{path} belongs to user {facts.st_uid}"
    if stat.S_ISLNK(facts.st_mode) or not facts.st_mode & _OTHERS:
        return ""
    # Sticky, as /tmp: only the owner of a name there may change it.
    return "" if stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX else f"{path} may be written by others"


def changeable_program(program: Path, owners: Collection[int] = (0,)) -> list[str]:
    """The same for a virtual environment, the running code with all its imports, and every folder above them."""
    code = CODE
    # In a checkout only the packages: its tests and build files are never imported.
    packages = {package.parent for package in code.glob("*/__init__.py")}
    trees = {program, Path(sys.prefix), *packages, *(Path(entry) for entry in sys.path if entry)} - {code}
    starts = {*trees, code, Path(sys.executable), program / "bin/python", program / "bin/lykta"}
    ways = {path for start in starts if os.path.lexists(start) for path in _way(start)}
    below = (path for tree in trees if tree.is_dir() for path in _below(tree.resolve()))
    return sorted({why for path in {*map(str, ways), *below} if (why := changeable(path, owners))})


@cache
def _way(path: Path) -> frozenset[Path]:
    """A path, its target if it is a link, and all folders above both."""
    path = path.absolute()
    above = _way(path.parent) if path != path.parent else frozenset[Path]()
    if not path.is_symlink():
        return above | {path}
    return above | {path} | _way(path.parent / path.readlink())


def _below(tree: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(tree):
        yield from (f"{folder}/{name}" for name in (*folders, *files))
