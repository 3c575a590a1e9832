"""Commands on a node with clips, as root and in folders that belong to the camera's user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.broker import PATIENCE
from tests.support.clip_node import ClipNode
from tests.support.nodes import BIN

NOBODY = 65534
HANGS_S = PATIENCE * 60


def lykta(clip_node: ClipNode, *words: str | Path, umask: int = -1, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; one that waits for a pipe fails by its time. path: programs that stand in for the system's."""
    command = [BIN / "lykta", "--root", clip_node.layout.root, *words]
    programs = {"PATH": f"{path}:{os.environ['PATH']}"} if path else {}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=HANGS_S, umask=umask, env=os.environ | programs
    )


def trust_host(clip_node: ClipNode) -> None:
    with clip_node.layout.config.open("a") as file:
        file.write('[clock]\ntrust = "host"\n')


def given_to_nobody(clip_node: ClipNode) -> None:
    """The folders of the camera's user, as systemd-tmpfiles makes them."""
    trust_host(clip_node)
    mine = (clip_node.layout.spool, clip_node.layout.camera, clip_node.layout.journal("retention"), clip_node.layout.outbox.parent)
    for folder in mine:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def ordered(clip_node: ClipNode, token: bytes) -> subprocess.CompletedProcess[str]:
    path = clip_node.layout.root / "an.order"
    path.write_bytes(token)
    return lykta(clip_node, "order", "apply", path, "--json")
