"""A node's clips in custody, under a clock that the test sets: what keeps, frees and deletes, as the services compose it."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from agent.clips.custody import Custody
from agent.clips.order_check import Unit
from agent.runtime.config import load
from central.keys.keygen import authority, signer
from drivers.clock import ClockState, SystemClock
from privacy.records.chains import verify_chain
from privacy.records.journal import Entry
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import RECEIPT, Receipt, read_manifest
from privacy.records.order import ORDER, Act, Answer, Order, read_answer
from tests.support.clips import Node, made

HOUR_MS = 3_600_000


class SetClock(SystemClock):
    """A clock that stands still until it is set; sleep, reboot and a wrong wall clock are what the test makes of it."""

    def __init__(self, now: datetime) -> None:
        super().__init__("host")
        self.wall, self.mono, self.known = now, 60_000, True
        self.boot_id = "b1"

    def now(self) -> datetime:
        return self.wall

    def mono_ms(self) -> int:
        return self.mono

    def state(self) -> ClockState:
        return "synced" if self.known else "unknown"

    def runs(self, span: timedelta) -> None:
        """Time passes with the power on."""
        self.wall += span
        self.mono += round(span.total_seconds() * 1000)

    def boots(self, name: str) -> None:
        self.boot_id, self.mono = name, 0


class ClipNode:
    """One node with its keys, its spool and its clock."""

    def __init__(self, folder: Path) -> None:
        made("keygen", folder / "keys")
        self.keys = folder / "keys"
        self.node = Node(self.keys, "city/stop-1", folder / "node")
        self.layout = self.node.layout
        self.clock = SetClock(datetime.now(UTC).replace(microsecond=0))
        self._open: list[Custody] = []
        self.orders = 0
        self.revoked: list[str] = []

    def custody(self, unit: Unit = "camera", quota_mb: int = 4000) -> Custody:
        config = load(self.layout.config)
        config = msgspec.structs.replace(config, record=msgspec.structs.replace(config.record, quota_mb=quota_mb))
        taken = Custody.take(self.layout, config, self.clock, unit, timedelta(hours=72), self.revoked.append)
        self._open.append(taken)
        return taken

    def clip(self, video: bytes = b"video", **changes: Any) -> str:
        """A complete clip of now, by the set clock; its id."""
        now = self.clock.wall
        times = {"begin": now, "end": now + timedelta(seconds=3), "deadline": now + timedelta(hours=72)}
        since = {"boot_id": self.clock.boot_id, "mono_ms": self.clock.mono}
        return self.node.clip(video, **{**times, **since, **changes}).name

    def receipt(self, clip: str, **changes: Any) -> str:
        """As the centre signs it for this clip."""
        token = (self.layout.spool / clip / "manifest.jws").read_bytes()
        manifest = read_manifest(token, authority(self.keys))[0]
        whole = Receipt(clip, "clip", manifest.site, manifest.node, sha256_hex(token), manifest.files, manifest.end)
        return sign(msgspec.structs.replace(whole, **changes), signer(self.keys, "receipt"), RECEIPT).decode()

    def order(self, act: Act, *clips: str, key: str = "command", **changes: Any) -> bytes:
        """The next order of the centre, signed; `changes` are what it says instead."""
        self.orders += 1
        now = self.clock.wall
        facts: dict[str, Any] = {
            "number": self.orders,
            "act": act,
            "site": "city",
            "node": "stop-1",
            "ground": "accident",
            "case": "K-7",
            "decided": "Anna Ek",
            "performed": "Bo Al",
            "issued": now,
            "until": now + timedelta(days=7),
            "clips": clips,
        }
        return sign(Order(**{**facts, **changes}), signer(self.keys, key), ORDER)

    def answer(self, token: bytes) -> Answer:
        return read_answer(token, authority(self.keys))

    def there(self) -> list[str]:
        return self.node.spool.clips()

    def bodies(self) -> list[dict[str, Any]]:
        """Bodies of all messages in the outbox, in order."""
        with sqlite3.connect(self.layout.outbox) as database:
            rows = database.execute("SELECT payload FROM messages ORDER BY seq").fetchall()
        return [json.loads(payload)["body"] for (payload,) in rows if payload]

    def notes(self) -> list[tuple[str, str, str]]:
        """What was said of clips, but for what a new outbox is begun with."""
        clips = [body for body in self.bodies() if body["type"] == "clip"]
        return [(body["clip"], body["stage"], body["reason"]) for body in clips if body["reason"] != "rebuilt"]

    def entries(self, unit: Unit = "camera") -> list[Entry]:
        return list(verify_chain(self.layout.journal(unit), unit, authority(self.keys)).entries)

    def kinds(self, unit: Unit = "camera") -> list[str]:
        return [entry.kind for entry in self.entries(unit)]

    def close(self) -> None:
        while self._open:
            self._open.pop().outbox.close()
