"""The node's store as the rigs drive and judge it: the one file here that knows its classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import msgspec
import pyrage

from agent.clips.keeper import Bounds, Keeper
from agent.clips.order_check import OrderCheck, OrderVerifier, answers
from agent.clips.orders import Orders
from agent.clips.spool import SealedSink, Spool
from agent.messages import ClipNote, Health, Help, OrderAnswer, decode
from agent.outbox.outbox import Mark, Outbox, Waiting
from agent.outbox.telling import Telling
from central.keys.bundle import Address, bundle
from central.keys.keygen import keygen, signer
from drivers.clock import SystemClock
from privacy.ids import new_clip_id
from privacy.records.journal import Journal
from privacy.records.jws import Authority, Signer, TrustedKeys, sha256_hex, sign
from privacy.records.manifest import CLIP, MASKS, RECEIPT, TAIL, Manifest, Receipt
from privacy.records.order import ORDER, Order
from privacy.records.seal import Recipient, Tail
from privacy.records.trusted_time import ClockState
from provisioning.identity import Unit, command_keys, load_authority, load_signer, recipients
from provisioning.layout import Layout
from tests.support.manifests import manifest

SITE, NODE = "city", "stop-1"
UNITS: tuple[Unit, ...] = ("camera", "io", "uplink")
RETENTION = timedelta(hours=72)


def enrol(home: Path) -> None:
    """A centre and a node's keys, beside the disk that is tested."""
    keygen(home / "centre", [])
    anywhere = Address("127.0.0.1", 1)
    bundle(home / "centre", f"{SITE}/{NODE}", home / "node", "city", anywhere, anywhere)


@dataclass(frozen=True)
class Home:
    """Who this node is, and the centre's side of it. identity: opens the clips, in age's text form."""

    signers: dict[Unit, Signer]
    authority: Authority
    recipients: tuple[str, ...]
    trusted: TrustedKeys
    receipts: Signer
    orders: Signer
    identity: str

    @classmethod
    def load(cls, home: Path) -> Home:
        layout = Layout(home / "node")
        signers = {unit: load_signer(layout, unit) for unit in UNITS}
        identity = (home / "centre/identity.txt").read_text().strip()
        receipts, orders = (signer(home / "centre", name) for name in ("receipt", "command"))
        return cls(signers, load_authority(layout), recipients(layout), command_keys(layout), receipts, orders, identity)


class Clock(SystemClock):
    """The machine's, ahead by what the rig says."""

    def __init__(self) -> None:
        super().__init__("host")
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def state(self) -> ClockState:
        """The clock that the host vouches for was not set: both of its clocks are ahead by the same."""
        return "synced"

    def mono_ms(self) -> int:
        return super().mono_ms() + round(self.ahead.total_seconds() * 1000)


class Store:
    """Everything of a node that lies on its disk, opened as its services open it."""

    def __init__(self, root: Path, home: Home) -> None:
        self.layout, self.home, self.clock = Layout(root), home, Clock()
        self.outbox = Outbox(self.layout.outbox, SITE, NODE, SystemClock("host"))
        self.journals = {unit: Journal(self.layout.journal(unit), unit, home.signers[unit], self.clock.now) for unit in UNITS}
        self.spool = Spool(self.layout.spool, home.signers["camera"], home.authority)
        bounds = Bounds(1_000_000_000, 1.0, RETENTION)
        me = OrderVerifier("camera", home.signers["camera"], home.trusted, SITE, NODE)
        journal, folder = self.journals["camera"], self.layout.camera
        check = OrderCheck(me, answers(self.layout), home.authority)
        self.keeper = Keeper(self.spool, self.outbox, Telling(self.outbox, journal), self.clock, bounds, folder, check.order_of)
        self.orders = Orders(self.layout, me, self.keeper, self.clock, lambda _record: None)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def pass_time(self, span: timedelta) -> None:
        self.clock.ahead += span

    def close(self) -> None:
        self.outbox.close()

    def keys(self) -> dict[str, Waiting]:
        """What waits in the outbox, by key, in the order of numbers."""
        return {key(waiting): waiting for waiting in sorted(self.outbox.take(Mark(), 100_000), key=lambda one: one.seq)}

    def film(self, keep: timedelta = RETENTION) -> Film:
        return Film(self, opened(self.clock, keep, self.home.recipients))

    def receipt(self, clip: str) -> str:
        """What the centre sends once it holds the clip."""
        manifest = self.spool.manifest(clip)
        record = sha256_hex((self.spool.folder / clip / "manifest.jws").read_bytes())
        receipt = Receipt(clip, "clip", SITE, NODE, record, manifest.files, self.now)
        return sign(receipt, self.home.receipts, RECEIPT).decode()

    def hold(self, number: int, clip: str) -> bytes:
        """The centre's signed order to hold a clip; of this moment."""
        people = {"case": f"K-{number}", "decided": "Anna Ek", "performed": "Bo Al"}
        times = {"issued": self.now, "until": self.now + timedelta(days=30)}
        order = Order(number=number, act="hold", site=SITE, node=NODE, ground="accident", clips=(clip,), **people, **times)
        return sign(order, self.home.orders, ORDER)

    def answer(self, number: int) -> bytes:
        return (answers(self.layout) / f"{number:08}.jws").read_bytes()


class Film:
    """A running clip whose bytes anybody can foretell from its id."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store, self.manifest, self.clip = store, manifest, manifest.clip
        self._sinks: tuple[SealedSink, ...] = ()
        self.fed = [0, 0]
        self._seconds = 0

    def begin(self) -> None:
        self._sinks = self._store.spool.begin(self.manifest, [Recipient.parse(one) for one in self.manifest.recipients])

    def second(self, video: int, masks: int) -> None:
        """A second of media, synced; every other one is signed too."""
        for number, (sink, name, more) in enumerate(zip(self._sinks, (CLIP, MASKS), (video, masks), strict=True)):
            at = self.fed[number]
            sink.feed(content(self.clip, name, at + more)[at:])
            self.fed[number] += more
        self._store.spool.sync(self.clip, *self._sinks)
        self._seconds += 1
        if self._seconds % 2 == 0:
            self._store.spool.checkpoint(self.manifest, *self._sinks)

    def finish(self) -> str:
        """The hash of the manifest that stands on the disk now."""
        files = tuple(sink.close() for sink in self._sinks)
        self._store.spool.finish(msgspec.structs.replace(self.manifest, state="complete", files=files))
        self._store.keeper.clip(ClipNote(self.clip, "recorded", self.manifest.trigger, "", sum(self.fed)))
        return sha256_hex((self._store.spool.folder / self.clip / "manifest.jws").read_bytes())

    def abandon(self) -> None:
        """Let go of the files as they are, as a process does that ends."""
        for sink in self._sinks:
            sink.abandon()

    def drop(self) -> None:
        """What the recorder does with a clip that the disk refused."""
        self.abandon()
        self._store.keeper.drop(ClipNote(self.clip, "dropped", self.manifest.trigger, "disk_error", 0))


def content(clip: str, name: str, size: int) -> bytes:
    """The first bytes of what is filmed into that file of that clip."""
    return hashlib.shake_128(f"{clip}/{name}".encode()).digest(size)


def clear(folder: Path, manifest: Manifest, identity: pyrage.x25519.Identity) -> dict[str, bytes]:
    """The clear bytes of a clip's files by a foreign opener; of a torn one all whole chunks, and the tail behind them."""
    if manifest.state == "complete":
        return {name: pyrage.decrypt((folder / name).read_bytes(), [identity]) for name in (CLIP, MASKS)}
    chunks = {name: _chunks(folder / name, identity) for name in (CLIP, MASKS)}
    if not (folder / TAIL).exists():
        return chunks
    line, _, rest = pyrage.decrypt((folder / TAIL).read_bytes(), [identity]).partition(b"\n")
    head = msgspec.json.decode(line, type=Tail)
    for name, (offset, size) in ((CLIP, head.clip), (MASKS, head.masks)):
        if offset <= len(chunks[name]) < offset + size:
            chunks[name] = chunks[name][:offset] + rest[:size]
        rest = rest[size:]
    return chunks


def _chunks(path: Path, identity: pyrage.x25519.Identity) -> bytes:
    """All whole chunks; pyrage reads on until it meets the missing end."""
    out = BytesIO()
    with suppress(pyrage.DecryptError, OSError):
        pyrage.decrypt_io(BytesIO(path.read_bytes()), out, [identity])
    return out.getvalue()


def key(waiting: Waiting) -> str:
    """What a message is known by here."""
    body = decode(waiting.payload).body
    match body:
        case Help():
            return body.press
        case ClipNote():
            return f"{body.clip}:{body.stage}"
        case OrderAnswer():
            return f"order-{body.number}"
        case Health():
            return f"health-{body.values['round']}"
    raise ValueError(f"outbox: a message that nobody put (got {type(body).__name__})")


def opened(clock: Clock, keep: timedelta, to: tuple[str, ...]) -> Manifest:
    """The manifest that a clip begins with."""
    now = clock.now()
    times = {"begin": now, "end": now, "deadline": now + keep, "mono_ms": clock.mono_ms(), "boot_id": clock.boot_id}
    return manifest(new_clip_id(round(now.timestamp() * 1e9)), f"{SITE}/{NODE}", to, frames=0, full={}, **times)


@contextmanager
def opened_store(root: Path, home: Home) -> Iterator[Store]:
    """The store, closed afterwards."""
    store = Store(root, home)
    try:
        yield store
    finally:
        store.close()
