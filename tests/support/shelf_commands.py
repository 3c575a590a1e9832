"""Commands on a shelf's node, as root and in folders that belong to the camera's user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.broker import PATIENCE
from tests.support.nodes import BIN
from tests.support.shelf import Shelf

NOBODY = 65534
HANGS_S = PATIENCE * 60


def lykta(shelf: Shelf, *words: str | Path, umask: int = -1, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; one that waits for a pipe fails by its time. path: programs that stand in for the system's."""
    command = [BIN / "lykta", "--root", shelf.layout.root, *words]
    programs = {"PATH": f"{path}:{os.environ['PATH']}"} if path else {}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=HANGS_S, umask=umask, env=os.environ | programs
    )


def trust_host(shelf: Shelf) -> None:
    with shelf.layout.config.open("a") as file:
        file.write('[clock]\ntrust = "host"\n')


def given_to_nobody(shelf: Shelf) -> None:
    """The folders of the camera's user, as systemd-tmpfiles makes them."""
    trust_host(shelf)
    mine = (shelf.layout.spool, shelf.layout.camera, shelf.layout.journal("retention"), shelf.layout.outbox.parent)
    for folder in mine:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def ordered(shelf: Shelf, token: bytes) -> subprocess.CompletedProcess[str]:
    path = shelf.layout.root / "an.order"
    path.write_bytes(token)
    return lykta(shelf, "order", "apply", path, "--json")
