"""A node as the demo makes one: real keys, real records, the demo video as its camera. Copied for each test."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.demo.run import Demo
from privacy.errors import LyktaError
from provisioning.layout import CODE, Layout
from tests.support.asking import ask
from tests.support.broker import PATIENCE
from tests.support.broker import until as until

PROJECT = CODE
VIDEO = PROJECT / "out/demo-video/vtest.avi"
MODELS = PROJECT / "out/models"
BIN = Path(sys.executable).parent


class Node:
    """One node in a folder of its own."""

    def __init__(self, root: Path, centre: Path) -> None:
        self.root, self.centre, self.layout = root, centre, Layout(root)

    @classmethod
    def copy(cls, demo: Demo, folder: Path) -> Node:
        shutil.copytree(demo.node, folder / "node", symlinks=True)
        return cls(folder / "node", demo.centre)

    def settings(self, **changes: str) -> None:
        """Set settings by section__name: value as TOML."""
        text = self.layout.config.read_text()
        for name, value in changes.items():
            section, _, key = name.partition("__")
            text = re.sub(rf"(?m)(^\[{section}\]\n(?:[^\[].*\n)*?){key} = .*\n", r"\1", text)
            text = text.replace(f"[{section}]\n", f"[{section}]\n{key} = {value}\n")
        self.layout.config.write_text(text)

    def sign(self, record: str, **changes: Any) -> None:
        """Sign the node's record anew with some fields changed."""
        source = json.loads((self.centre / f"{record}.json").read_text()) | changes
        path = self.root / f"{record}.json"
        path.write_text(json.dumps(source))
        target = getattr(self.layout, record)
        words = [BIN / "lykta-central", "sign", record, path, "--keys", self.centre, "-o", target, "--yes"]
        subprocess.run(words, check=True, capture_output=True)

    def words(self, *words: str) -> list[str]:
        return [str(BIN / "lykta"), "--root", str(self.root), *words]

    def run(self, *words: str, limit: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*words), capture_output=True, text=True, timeout=PATIENCE * limit, check=False)

    def start(self, *words: str, log: str = "log", **environment: str) -> subprocess.Popen[bytes]:
        with (self.root / log).open("ab") as out:
            return subprocess.Popen(self.words(*words), stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment)

    def status(self, service: str) -> dict[str, Any]:
        """The service's answer, {} while it does not answer."""
        try:
            return ask(self.layout.socket(service, "ctl"), {"verb": "status"})
        except LyktaError:
            return {}

    def state(self, service: str) -> tuple[str, str]:
        standing = self.status(service).get("standing", {})
        return standing.get("state", ""), standing.get("reason", "")

    def trigger(self, press: str = "test") -> None:
        """What io tells the camera when the help button is pressed."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(json.dumps({"kind": "help", "id": press, "t_ms": 0}).encode(), str(self.layout.trigger))

    def press(self) -> None:
        """Somebody presses the help button of the mock pins."""
        ask(self.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})

    def clips(self) -> list[Path]:
        return sorted(path.parent for path in self.layout.spool.glob("*/manifest.jws"))

    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")


def stop(process: subprocess.Popen[bytes], limit: float = 10) -> int:
    process.terminate()
    return process.wait(PATIENCE * limit)


def ago(**span: int) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat()
