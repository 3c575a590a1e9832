"""A node, a centre and a broker in one folder: keys and records by `lykta-central`, and their processes on 127.0.0.1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.demo.processes import Process, await_port, end, free_port, tool
from drivers.media.video import facts
from privacy.errors import MediaError, UsageError
from privacy.foreign import decode
from privacy.records.basis import Basis
from provisioning.identity import load_records
from provisioning.layout import Layout

SITE, NODE, AREA = "linkoping-demo", "stop-1", "City"
_MARK = ".lykta-demo"
_BINARIES = Path(sys.executable).parent


@dataclass
class Ports:
    broker: int
    operators: int
    ingest: int


class Site:
    """All files in the folder, and how each process is started; nothing runs yet.

    folder  emptied and filled by `prepare`; video: the camera's source; models: the folder with the networks
    """

    def __init__(self, folder: Path, video: Path, models: Path) -> None:
        self.folder, self.video, self.models = folder.resolve(), video.resolve(), models.resolve()
        self.centre, self.node, self.store = self.folder / "centre", self.folder / "node", self.folder / "store"
        self.clips, self.logs = self.folder / "clips", self.folder / "logs"
        self.broker = self.folder / "broker"
        self.layout = Layout(self.node)
        self.ports = Ports(free_port(), free_port(), free_port())

    def prepare(self) -> None:
        _empty(self.folder)
        for folder in (self.centre.parent, self.node, self.store, self.clips, self.logs, self.folder / "stills"):
            folder.mkdir(parents=True, exist_ok=True)
        self._central("keygen", str(self.centre))
        endpoints = ["--broker", f"127.0.0.1:{self.ports.broker}", "--ingest", f"127.0.0.1:{self.ports.ingest}"]
        name = f"{SITE}/{NODE}"
        self._central("bundle", str(self.centre), name, "--root", str(self.node), "--area", AREA, *endpoints)
        self._configure()
        self._sign()
        self.layout.var.mkdir(parents=True, exist_ok=True)
        self.layout.models.symlink_to(self.models)

    def _configure(self) -> None:
        """Differences from a node at a stop: a file as camera, mock pins, the host's clock."""
        known = facts(self.video)
        text = self.layout.config.read_text()
        text += f"""
[camera]
source = "file"
file = {json.dumps(str(self.video))}
width = {known.width}
height = {known.height}
fps = {min(30, max(5, round(known.fps)))}

[mask]
stack = {json.dumps(_installed_stack(self.models))}

[record]
pre_roll = 5
post_roll = 4
longest = 20

[pins]
factory = "mock"

[clock]
trust = "host"
"""
        self.layout.config.write_text(text)

    def _sign(self) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        basis = self._example("basis")
        basis |= {"begin": (now - timedelta(days=1)).isoformat(), "end": (now + timedelta(days=2)).isoformat()}
        basis["hours"] = [{"days": [1, 2, 3, 4, 5, 6, 7], "begin": "00:00", "end": "24:00"}]
        basis |= {"assessment": "demonstration, nothing was assessed", "stop": "demonstration stop"}
        view = self._example("view") | {"basis": basis["id"]}
        for name, record, target in (("basis", basis, self.layout.basis), ("view", view, self.layout.view)):
            source = self.centre / f"{name}.json"
            source.write_text(json.dumps(record, indent=1))
            self._central("sign", name, str(source), "--keys", str(self.centre), "-o", str(target), "--yes")

    def _example(self, name: str) -> dict[str, Any]:
        return decode(self._central("sign", name, "--example", f"{SITE}/{NODE}").encode(), dict[str, Any], name)

    def _central(self, *words: str) -> str:
        done = subprocess.run([str(_BINARIES / "lykta-central"), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise MediaError(f"demo: lykta-central {words[0]}: {done.stderr.strip()}", "see the lines above")
        return done.stdout

    # -- the centre --------------------------------------------------------------------------------------------------

    def start_centre(self, stack: ExitStack) -> dict[str, Process]:
        """Start broker, an operator's client and the ingest; they end with the stack."""
        self.broker_files()
        broker = self.start_broker(stack)
        self.start(stack, "messages", [tool("mosquitto_sub"), *self.operator_options(), "-t", "lykta/v1/#", "-F", "%U\t%r\t%t\t%p"])
        return {"broker": broker, "ingest": self.start_ingest(stack)}

    def start_broker(self, stack: ExitStack) -> Process:
        broker = self.start(stack, "broker", [tool("mosquitto"), "-c", str(self.broker / "broker.conf")])
        # It opens one after the other: who comes to the second before it is open is refused, and does not try again.
        for port in (self.ports.broker, self.ports.operators):
            await_port(port, "mosquitto", self.logs)
        return broker

    def start_ingest(self, stack: ExitStack) -> Process:
        words = ["ingest", "--keys", str(self.centre), "--store", str(self.store), "--port", str(self.ports.ingest)]
        ingest = self.start(stack, "ingest", [str(_BINARIES / "lykta-central"), *words])
        await_port(self.ports.ingest, "lykta-central ingest", self.logs)
        return ingest

    def start_service(self, stack: ExitStack, name: str) -> Process:
        return self.start(stack, name, [str(_BINARIES / "lykta"), name])

    def operator_options(self) -> list[str]:
        """Options of the standard mosquitto clients to connect as the operator."""
        tls = [
            "--cafile",
            str(self.centre / "ca.pem"),
            "--cert",
            str(self.centre / "ops.pem"),
            "--key",
            str(self.centre / "ops.key"),
        ]
        return ["-V", "5", "-h", "127.0.0.1", "-p", str(self.ports.operators), *tls]

    def broker_files(self) -> None:
        where = ["--nodes", f"127.0.0.1:{self.ports.broker}", "--operators", f"127.0.0.1:{self.ports.operators}"]
        # Started by root, mosquitto would change to a user that may not read these keys.
        self._central(
            "broker", str(self.centre), "-o", str(self.broker), *where, *(["--user", "root"] if os.geteuid() == 0 else [])
        )

    def start(self, stack: ExitStack, name: str, words: list[str]) -> Process:
        log = stack.enter_context((self.logs / f"{name}.log").open("ab"))
        environment = os.environ | {"LYKTA_ROOT": str(self.node), "OPENCV_LOG_LEVEL": "ERROR"}
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)
        stack.callback(end, process)
        return process

    def basis(self) -> Basis:
        return load_records(self.layout)[0]


def _installed_stack(models: Path) -> str:
    from privacy.masking.networks.models import installed

    return installed(models)


def _empty(folder: Path) -> None:
    """Empty the folder for a new run, only if an earlier demo made it."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise UsageError(f"demo: --dir: {folder} is not empty and not of a demo", "name a new folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
