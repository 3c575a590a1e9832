"""The uploader: sealed clips and parcels to the centre's ingest, part by part, and the signed receipts to the camera.

It can read the spool but delete no clip: the camera does that, on a receipt that it verifies itself. Failures are repeated
with growing pauses; one object's failure delays no other, and after each part a more urgent object goes first.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from agent.inbox.inbox import hand_over_receipt
from agent.messages import ClipNote
from agent.outbox.outbox import Outbox
from agent.runtime.commands.desk import Answer, Outcome
from agent.runtime.foreign_input import handling
from agent.runtime.hours import in_hours
from agent.runtime.requests import Carry, Kept
from agent.runtime.service import Runtime
from agent.uplink.upload.budget import Budget
from agent.uplink.upload.courier import Courier
from agent.uplink.upload.ingest_client import IngestClient, Part
from agent.uplink.upload.order_queue import OrderQueue
from agent.uplink.upload.parcels import Parcels
from agent.uplink.upload.parts import Digests, Item, blocks
from agent.uplink.upload.policy import Rank, Rate, back_off_s
from agent.uplink.upload.requested import RequestedClips
from agent.uplink.upload.waiting_clips import Key, WaitingClips
from privacy.errors import BusyError, DamageError, IngestRefusedError, LyktaError, StorageError, UnreachableError
from privacy.records.command_table import Upload
from privacy.records.journal import Journal
from provisioning.identity import TlsFiles, load_signer

_IDLE_S = 0.5
_LOOK_THROUGH_S = 60.0
_LONGEST_DELAY_S = 3600.0
_MOST_REFUSED = 5
UPLOAD_STALLED_S = 600.0
_DAMAGED = 422
"""The ingest's answer for a damaged journal segment; for other objects: the bytes differ from the announced ones."""


class Delay(Struct, frozen=True):
    """The delay of a refused object: how often refused, until when it waits (monotonic), and why."""

    failures: int
    until_s: float
    problem: LyktaError


class UploadFacts(NamedTuple):
    """Numbers for `UplinkStatus`."""

    uploaded: int | None
    upload_waiting: int | None
    upload_error: str | None
    diag_dropped: int
    journals_aside: dict[str, int]
    orders_lost: int
    oldest_ms: int | None
    budget_used: float | None
    sent_bytes: dict[str, int]


class Uploader:
    """Work of one thread; `carry` and `abort` are for others.

    journal   the uplink's own, for entries on segments set aside
    """

    def __init__(self, runtime: Runtime, outbox: Outbox, files: TlsFiles, journal: Journal) -> None:
        config, layout = runtime.config, runtime.layout
        self._runtime, self._outbox, self._settings, self._journal = runtime, outbox, config.upload, journal
        self._orders = OrderQueue()
        self._courier = Courier(runtime, self._orders)
        self._ingest = IngestClient(config.ingest, files, self._orders)
        self._clips = WaitingClips(layout, config.upload.what)
        self._requested = RequestedClips(self._clips.is_complete)
        self._parcels = Parcels(layout, config.node, load_signer(layout, "uplink"), runtime.clock.now)
        self._budget = Budget(layout.uplink / "spent.json", config.upload.budget_mb_day, runtime.clock, self._warn)
        self._rate = Rate(config.upload.kbit_s)
        self._digests = Digests(runtime.stop)
        self._delayed: dict[Key, Delay] = {}
        self._broke_at: Key | None = None
        self._told: set[str] = set()
        self._trouble: str | None = None
        self._waiting: int | None = None
        self._oldest_ms: int | None = None
        self._sent: Counter[str] = Counter()
        self._failures = self._refused = self._unsent = 0
        self._after_s = self._closed_until_s = self._look_through_s = 0.0
        self.uploaded = 0

    def run(self) -> None:
        while not self._runtime.stop.wait(self._works(self._pause())):
            self._say(self._round())
            # Servers close idle connections; the next round begins with a new one.
            self._ingest.close()

    def _works(self, pause_s: float = 0.0) -> float:
        """Send a heartbeat, valid for that pause."""
        self._runtime.beat(pause_s)
        return pause_s

    def abort(self) -> None:
        """Abort a running call when the service stops; the next start continues from there."""
        self._ingest.abort()

    def carry(self, request: Carry) -> Kept:
        """Store a technician's report or diagnosis until the centre has it."""
        return Kept(self._parcels.keep(request.kind, request.name, request.data))

    def request(self, act: Upload, answer: Answer) -> Outcome | None:
        """Send a clip that the settings would leave on the node. From any thread."""
        return self._requested.add(act.clip, answer)

    @property
    def facts(self) -> UploadFacts:
        """Numbers for the uplink's status. From any thread."""
        parcels = self._parcels
        aside, lost = parcels.aside, self._orders.lost
        return UploadFacts(
            self.uploaded or None, self._waiting, self._trouble, parcels.dropped, aside, lost, self._oldest_ms, self._budget.used,
            dict(self._sent),
        )  # fmt: skip

    # -- one round -------------------------------------------------------------------------------------------------------

    def _round(self) -> LyktaError | None:
        """Send everything that may be sent now; returns the remaining error."""
        try:
            # Neither an unreadable folder nor an ingest's answer may end the service, which has to report them.
            with handling("upload"):
                self._courier.poll(time.monotonic(), self._ingest.orders)
                self._errands()
                while not self._runtime.stop.is_set() and (key := self._next()):
                    self._try(key)
                    self._errands()
        except LyktaError as problem:
            self._failures += 1
            self._after_s = problem.after_s if isinstance(problem, BusyError) else 0.0
            return problem
        self._failures = 0
        return self._standing_trouble()

    def _errands(self) -> None:
        """Work before the next object: orders, and a scan for new and deleted objects."""
        now_s = time.monotonic()
        self._works()
        self._clips.look()
        for clip in self._requested.news():
            self._clips.request(clip)
        if self._courier.work(self._ingest.answer) or now_s >= self._look_through_s:
            self._look_through_s = now_s + _LOOK_THROUGH_S
            self._clips.look_through(now_s)
            self._parcels.look_through()
            self._requested.look_through()

    def _next(self) -> Key | None:
        """The most urgent object that may be sent now. One that broke the link last time comes last, as it may be the cause."""
        now_s, last = time.monotonic(), None
        open_for_all = self._open_for_all(now_s)
        for key in heapq.merge(self._parcels.waiting, self._clips.waiting):
            if not key[0].urgent and not open_for_all:
                break  # nor may the less urgent ones after it
            if key in self._delayed and now_s < self._delayed[key].until_s:
                continue
            if key != self._broke_at:
                return key
            last = key
        return last

    def _open_for_all(self, now_s: float) -> bool:
        """Whether objects that are not urgent may be sent."""
        return now_s >= self._closed_until_s and in_hours(self._settings.hours, self._runtime.clock.now())

    def _try(self, key: Key) -> None:
        try:
            item = self._of(key).fetch(key)
            receipt = self._send(key, item)
            if receipt:
                self._received(key, item, receipt)
        except UnreachableError:
            self._broke_at = key
            raise
        except LyktaError as problem:
            trouble = self._aside(key, problem) if key[0] is Rank.JOURNAL else problem
            if trouble:
                self._fail(key, trouble)
        else:
            self._broke_at, self._refused = None, 0
            self._delayed.pop(key, None)

    def _of(self, key: Key) -> WaitingClips | Parcels:
        return self._clips if key[0] in (Rank.HELP, Rank.EXPORT, Rank.EVENT, Rank.ROUTINE) else self._parcels

    def _fail(self, key: Key, problem: LyktaError) -> None:
        """Delay one object, unless it was deleted. Many failures in a row count as a fault of the ingest, not of the objects."""
        if self._of(key).gone(key):
            self._delayed.pop(key, None)
            return
        if key[0] is Rank.JOURNAL and isinstance(problem, IngestRefusedError) and problem.status == 403:
            self._parcels.pack_anew(key)
        before = self._delayed.get(key)
        failures = before.failures + 1 if before else 1
        until_s = time.monotonic() + back_off_s(failures, random.random(), _LONGEST_DELAY_S)
        self._delayed[key] = Delay(failures, until_s, problem)
        self._refused += 1
        if self._refused >= _MOST_REFUSED:
            self._refused = 0
            raise UnreachableError(str(problem), problem.hint) from problem

    def _aside(self, key: Key, problem: LyktaError) -> LyktaError | None:
        """Set a segment aside if it is damaged; otherwise, or if the disk refuses to store that, returns the error.

        The damage is checked here too: an ingest must not be able to suppress a journal by its answer alone.
        """
        refused = isinstance(problem, IngestRefusedError) and problem.status == _DAMAGED
        if not refused and not isinstance(problem, DamageError | StorageError):
            return problem
        try:
            reason = self._parcels.damage(key)
            if not reason:
                return problem
            unit, first = key[1].split("/")
            by = "ingest" if refused else "uplink"
            self._journal.append("journal_aside", unit=unit, segment=f"{first}.jws", by=by, reason=reason)
            self._parcels.set_aside(key, reason)
        except StorageError as full:
            return full
        self._delayed.pop(key, None)
        self._broke_at, self._refused = None, 0
        self._runtime.log(
            "warning", f"upload: journal {key[1]}: is set aside: {reason}", hint="check the disk; the next one is sent"
        )
        return None

    def _standing_trouble(self) -> LyktaError | None:
        """Why the object waits that was refused first; deleted objects are removed from the list."""
        while self._delayed:
            key, delay = next(iter(self._delayed.items()))
            if not self._of(key).gone(key):
                return delay.problem
            del self._delayed[key]
        return self._parcels.trouble

    # -- one object ------------------------------------------------------------------------------------------------------

    def _send(self, key: Key, item: Item) -> str | None:
        """Send one object from where it stopped, up to its receipt; None if it has to wait in between."""
        said = self._ingest.announce(item, self._digests.of_all(item))
        if said.receipt:
            return said.receipt
        self._tell(item)
        for part in said.parts:
            if not part.done and not self._put(key, item, part):
                return None
        receipt = self._ingest.complete(item)
        self.uploaded += 1
        return receipt

    def _put(self, key: Key, item: Item, part: Part) -> bool:
        """Send a part, if it may be sent now; whether it was."""
        if self._runtime.stop.is_set() or not self._first_still(key) or not self._afford(item, part.size):
            return False
        path = item.file(part.file)
        md5, data = self._digests.of(path, part.offset, part.size), blocks(path, part.offset, part.size)
        self._unsent = part.size
        try:
            self._ingest.put(part, md5, self._paced(item.kind, data))
        except LyktaError:
            # A link that breaks each minute must not use up the budget with bytes that it did not transfer.
            self._budget.spend(0 if item.rank.urgent else -self._unsent, urgent=False)
            raise
        self._failures = 0
        self._delayed.pop(key, None)
        return True

    def _first_still(self, key: Key) -> bool:
        """Whether no more urgent object has arrived, and the hours have not ended."""
        self._clips.look()
        first = self._next()
        return (first is None or first[0] >= key[0]) and (key[0].urgent or self._open_for_all(time.monotonic()))

    def _afford(self, item: Item, size: int) -> bool:
        wait_s = 0.0 if item.rank.urgent else self._budget.wait_s(size)
        if wait_s:
            self._closed_until_s = time.monotonic() + wait_s
            return False
        self._budget.spend(size, urgent=item.rank.urgent)
        return True

    def _paced(self, purpose: str, data: Iterator[bytes]) -> Iterator[bytes]:
        for block in data:
            if self._runtime.stop.wait(self._rate.pause_s(len(block), time.monotonic())):
                raise UnreachableError("upload: told to stop")
            self._unsent -= len(block)
            self._sent[purpose] += len(block)
            self._works()
            yield block

    def _received(self, key: Key, item: Item, receipt: str) -> None:
        if item.kind != "clip":
            self._parcels.received(key, item, receipt)
            return
        hand_over_receipt(self._runtime.layout, item.id, receipt)
        self._clips.handed_over(key, time.monotonic())
        self._requested.sent(item.id)
        self._told.discard(item.id)

    # -- reports -----------------------------------------------------------------------------------------------------------

    def _tell(self, item: Item) -> None:
        if item.kind != "clip" or item.id in self._told:
            return
        self._told.add(item.id)
        self._requested.begun(item.id)
        size = sum(file.size for file in item.files)
        try:
            self._outbox.put(ClipNote(item.id, "uploading", "", "", size))
        except StorageError as problem:
            # A full disk must not stop uploads, which free space.
            self._warn(problem)

    def _warn(self, problem: LyktaError) -> None:
        self._runtime.log("warning", f"upload: {problem}", hint=problem.hint)

    def _say(self, trouble: LyktaError | None) -> None:
        """Log each error once, and put the last one into the status."""
        text = str(trouble or "")
        if trouble and text != self._trouble and not self._runtime.stop.is_set():
            self._runtime.log("warning", f"upload: {text}", hint=trouble.hint)
        self._trouble, self._waiting = text, len(self._clips.waiting) + len(self._parcels.waiting)
        self._oldest_ms = self._clips.oldest_ms()

    def _pause(self) -> float:
        """Seconds to the next round: half a second normally, growing after failures, never less than the ingest asked for."""
        if not self._failures:
            return _IDLE_S
        return max(self._after_s, back_off_s(self._failures, random.random()))
