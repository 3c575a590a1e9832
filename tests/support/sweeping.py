"""A centre's desk over any store, under a clock that the test sets: what it took in, is ordered to do, and deletes."""

from __future__ import annotations

import hashlib
import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from central.ingest.deletion import StoredOrders
from central.ingest.intake import AnnounceRequest, Intake
from central.ingest.ledger import Ledger
from central.ingest.sweeping import Sweeper
from central.keys.keygen import authority, signer
from central.keys.recipients import current
from central.store.port import Store
from privacy.ids import new_clip_id
from privacy.records.chains import verify_chain
from privacy.records.journal import Fact, Journal
from privacy.records.jws import Signer, TrustedKeys, load_chain, load_private_key, sign
from privacy.records.manifest import MANIFEST, PARCEL, Parcel, SealedFile
from privacy.records.order import ORDER, Order
from tests.support.manifests import BEGIN, manifest
from tests.support.receiving import content_md5

NODE = "city/stop-1"
NUMBERS = itertools.count()
HEAD = b"age-encryption.org/v1\n-> X25519 key\nwrapped\n--- mac\n"
CLIP, MASKS = HEAD + b"sealed video", HEAD + b"sealed masks"


class Desk:
    """A centre over any store, under a clock that the test sets, and a node that signs what it is told to."""

    def __init__(self, keys: Path, store: Store, journal: Path) -> None:
        self.keys, self.store, self.folder, self.now = keys, store, journal, BEGIN
        commands = signer(keys, "command")
        self.decisions = StoredOrders(store, TrustedKeys({commands.kid: commands.key.public_key()}))
        self.ledger = Ledger(Journal(journal, "receipt", signer(keys, "receipt"), lambda: self.now), lambda: self.now)
        self.intake, self.sweeper = self.intake_over(store), self.another(store)

    def intake_over(self, store: Store) -> Intake:
        return Intake(
            store, authority(self.keys), signer(self.keys, "receipt"), self.decisions, self.ledger, lambda: self.now, self.keys
        )

    def another(self, store: Store) -> Sweeper:
        """As another process beside the same store would have it."""
        return Sweeper(store, self.decisions, self.ledger, lambda: self.now)

    def camera(self) -> Signer:
        return Signer(
            load_private_key((self.keys / "camera.key").read_bytes()), load_chain((self.keys / "camera.pem").read_bytes())
        )

    def clip(self, deadline: timedelta, *, begin: timedelta = timedelta(0), whole: bool = True) -> str:
        """A clip of three seconds that begins and is to be deleted so long after BEGIN; taken in, or only announced."""
        name = new_clip_id(1_800_000_000_000_000_000 + next(NUMBERS) * 1_000_000)
        files = tuple(SealedFile(file, len(data), hashlib.sha256(data).hexdigest()) for file, data in self.files())
        said = {"state": "complete", "begin": BEGIN + begin, "deadline": BEGIN + deadline, "files": files}
        token = sign(manifest(name, NODE, tuple(current(self.keys)), **said), self.camera(), MANIFEST).decode()
        self.take(AnnounceRequest("clip", name, token, {file: (content_md5(data),) for file, data in self.files()}), whole)
        return name

    def parcel(self, kind: Any, whole: bool = True, t: datetime = BEGIN) -> str:
        name = new_clip_id(1_800_000_000_000_000_000 + next(NUMBERS) * 1_000_000)
        sealed = (SealedFile("clip.age", len(CLIP), hashlib.sha256(CLIP).hexdigest()),)
        token = sign(Parcel(name, kind, "city", "stop-1", "camera", t, sealed, {}), self.camera(), PARCEL).decode()
        self.take(AnnounceRequest(kind, name, token, {"clip.age": (content_md5(CLIP),)}), whole)
        return name

    def take(self, wanted: AnnounceRequest, whole: bool) -> None:
        files = dict(self.files())
        for part in self.intake.announce(wanted, NODE).parts:
            piece = self.intake.part_writer(wanted.id, part.file, part.part, NODE)
            assert piece
            with piece:
                piece.write(files[part.file])
                piece.keep(content_md5(files[part.file]))
            if not whole:
                return
        self.intake.complete(wanted.id, NODE)

    @staticmethod
    def files() -> list[tuple[str, bytes]]:
        return [("clip.age", CLIP), ("masks.age", MASKS)]

    def order(self, act: Any, number: int, issued: timedelta, until: timedelta, by: str = "command", **about: Any) -> Order:
        """An order as it comes to stand in the store; `about` names clips, or since and to."""
        times = (BEGIN + issued, BEGIN + until)
        record = Order(number, act, "city", "stop-1", "controller", "K-1", "Ada", "Bo", *times, **about)
        self.store.put(f"{NODE}/orders/{number:08}.jws", sign(record, signer(self.keys, by), ORDER))
        return record

    def sweep(self, at: timedelta | None = None, *, failed: tuple[str, ...] = ()) -> list[str]:
        """What was deleted; `failed` names what could not be looked at."""
        self.now = BEGIN + at if at is not None else self.now
        troubles = self.sweeper.apply_orders()
        swept = self.sweeper.sweep()
        assert {*troubles, *swept.failed} == {*failed}
        return swept.deleted

    def entries(self, kind: str) -> list[dict[str, Fact]]:
        chain = verify_chain(self.folder, "receipt", authority(self.keys))
        return [entry.facts for entry in chain.entries if entry.kind == kind]

    def here(self, name: str) -> list[str]:
        """Keys of what is left of an object, the note of its deletion apart."""
        keys = [key for folder in (NODE, "_index", "_incoming") for key in self.store.names(folder)]
        return [key for key in keys if name in key and "/deleted/" not in key]
