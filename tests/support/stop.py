"""One bus stop for tests: a node's folder as the centre's bundle makes it, `lykta uplink` as a process, its neighbours."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from agent.clips.spool import Spool
from agent.messages import Message, decode
from agent.outbox.outbox import Outbox
from agent.runtime.control import EXCHANGE_S, listen
from central.keys.bundle import Address, bundle
from drivers.clock import SystemClock
from privacy.errors import LyktaError
from privacy.records.seal import Recipient
from provisioning.identity import load_authority, load_signer, recipients
from provisioning.layout import Layout
from tests.support.asking import answering, ask
from tests.support.broker import PATIENCE, Broker, Published, listens, until
from tests.support.manifests import manifest

LYKTA = Path(sys.executable).parent / "lykta"
MOST_MB = 60
"""What `lykta io` and `lykta uplink` may hold each."""


class Neighbour:
    """A service as the uplink sees it: its socket, its standing, and what it was handed."""

    def __init__(self, layout: Layout, name: str, socket: str = "uplink") -> None:
        self.standing: dict[str, Any] = {
            "state": "ready",
            "reason": "filming",
            "since": "2026-03-01T12:00:00Z",
            "until": None,
            "owner": "nobody",
        }
        self.detail: dict[str, Any] = {"frames": 7, "masked": 5, "full_by_cause": {"late": 1}}
        if name == "camera":
            self.detail |= {"view": "as_known", "mask_coverage": 0.25}
        self.commands: list[dict[str, Any]] = []
        self.receipts: list[str] = []
        self.orders: list[str] = []
        self.heads: list[dict[str, str]] = []
        self.at_ease = threading.Event()
        """Cleared: this service takes its time with orders."""
        self.at_ease.set()
        self._spool = Spool(layout.spool, load_signer(layout, "camera"), load_authority(layout))
        self._stop = threading.Event()
        path = layout.socket(name, socket)
        path.parent.mkdir(parents=True, exist_ok=True)
        replies = {"status": self._status, "command": self._command, "receipt": self._receipt}
        replies |= {"order": self._order, "heads": self._heads}
        self._thread = threading.Thread(target=listen, args=(path, answering(replies), lambda: not self._stop.is_set()))
        self._thread.start()
        until(lambda: listens(path), f"{name} listens")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"standing": self.standing, "detail": self.detail}

    def _command(self, request: dict[str, Any]) -> dict[str, Any]:
        self.commands.append(request)
        return {"obeyed": True}

    def _order(self, request: dict[str, Any]) -> dict[str, Any]:
        self.at_ease.wait()
        self.orders.append(request["jws"])
        return {"answer": "the.signed.answer"}

    def _heads(self, request: dict[str, Any]) -> dict[str, Any]:
        self.heads.append(request["heads"])
        return {"noted": 1}

    def _receipt(self, request: dict[str, Any]) -> dict[str, Any]:
        """As the camera does: verify, then free."""
        manifest = self._spool.check_receipt(request["jws"].encode())
        self.receipts.append(manifest.clip)
        self._spool.free(manifest.clip)
        return {"freed": True}


class Stop:
    """A node's folder and its uplink. The folder's name must be short: socket paths end at 107 bytes."""

    def __init__(self, root: Path, broker: Broker, node: str, ingest_port: int = 1) -> None:
        self.root, self.broker, self.name = root, broker, node
        self.site, _, self.id = node.partition("/")
        bundle(broker.centre.folder, node, root, "city", Address("127.0.0.1", broker.port), Address("127.0.0.1", ingest_port))
        self.layout = Layout(root)
        with self.layout.config.open("a") as file:
            file.write('\n[clock]\ntrust = "host"\n')
        self.log = root / "uplink.log"
        self._neighbours: dict[str, Neighbour] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.clips = 0

    @property
    def here(self) -> str:
        return f"lykta/v1/{self.name}"

    def now(self) -> datetime:
        return datetime.now(UTC)

    def neighbour(self, name: str) -> Neighbour:
        if name not in self._neighbours:
            self._neighbours[name] = Neighbour(self.layout, name)
        return self._neighbours[name]

    def leaves(self, name: str) -> None:
        self._neighbours.pop(name).close()

    def start(self, **environment: str) -> None:
        with self.log.open("ab") as log:
            words = [str(LYKTA), "uplink"]
            known = os.environ | {"LYKTA_ROOT": str(self.root)} | environment
            self.process = subprocess.Popen(words, stderr=log, stdout=log, env=known)
        until(lambda: self.status() is not None, "the uplink answers")

    def end(self) -> int:
        """SIGTERM, and what it ended with."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE * 20)

    def close(self) -> None:
        for neighbour in self._neighbours.values():
            neighbour.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE * 10)

    def status(self) -> dict[str, Any] | None:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return ask(self.layout.socket("uplink", "ctl"), {"verb": "status"}, PATIENCE * EXCHANGE_S)
        except LyktaError:
            return None

    def detail(self, name: str) -> Any:
        return (self.status() or {}).get("detail", {}).get(name)

    def peak_mb(self) -> float:
        """The most memory that the uplink ever held."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6

    def outbox(self, clock: SystemClock | None = None) -> Outbox:
        """As another service opens it."""
        return Outbox(self.layout.outbox, self.site, self.id, clock or SystemClock("host"))

    def messages(self, heard: list[Published], tail: str) -> list[Message]:
        """What was heard at one topic of this node."""
        return [decode(one.payload.encode()) for one in heard if one.topic == f"{self.here}/{tail}" and one.payload]

    def seal_clip(self, size: int, trigger: str = "help") -> str:
        """A sealed clip in the spool, as the camera makes it; its id."""
        self.clips += 1
        clip = f"01890000-0000-7000-8000-{self.clips:012x}"
        spool = Spool(self.layout.spool, load_signer(self.layout, "camera"), load_authority(self.layout))
        now = self.now()
        opened = manifest(clip, self.name, recipients(self.layout), trigger=trigger, begin=now, end=now)
        sinks = spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
        sinks[0].feed(os.urandom(size))
        sinks[1].feed(b"masks")
        files = tuple(sink.close() for sink in sinks)
        spool.finish(msgspec.structs.replace(opened, state="complete", files=files))
        return clip
