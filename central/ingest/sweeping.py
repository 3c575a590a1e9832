"""Deletes every version of an object in the minute in which its deadline passes (R27, R28).

Deadline entries, sorted by minute, say which objects to check, so that no sweep lists all objects. An entry only says when to
check: the object's own deadline and the orders in force at that moment decide. Every step may be repeated by any process after
a crash, because the entry is deleted last. A failure is recorded and does not stop the deletion of other objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from threading import Event
from typing import ParamSpec

from central.ingest import cloned_nodes
from central.ingest.deletion import ClipSpan, Deletion, StoredOrders, covers, deletion_of
from central.ingest.ledger import Ledger
from central.store.limits import remove_count
from central.store.port import (
    ANNOUNCED,
    DEADLINES,
    Announcement,
    Record,
    Store,
    announced_key,
    deadline_key,
    deleted_key,
    minute,
    object_prefix,
    parse_deadline_key,
    read_announcement,
    receipt_key,
    receipt_of,
    remove_open_marker,
    upload_of,
)
from drivers import stderr
from privacy.errors import RecordError, RequestRejectedError, StorageError
from privacy.foreign import printable
from privacy.records.jws import peek
from privacy.records.manifest import MANIFEST, PARCEL, Manifest, Parcel
from privacy.records.order import Order

P = ParamSpec("P")
EVERY_S = 20.0
ORDERS_EVERY = 15
"""Sweeps between two searches for new orders of all nodes: five minutes. Holds are checked at each deletion."""


@dataclass
class SweepResult:
    """Ids of deleted objects, ids of objects kept by a hold, and for each failure its name and reason."""

    deleted: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class Sweeper:
    """Deletes what is due in one store. Every ingest process runs one in a thread."""

    def __init__(self, store: Store, orders: StoredOrders, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self._store, self._orders, self._ledger, self._now = store, orders, ledger, now

    def run(self, stop: Event, every_s: float = EVERY_S) -> None:
        """Sweep every `every_s` seconds until `stop` is set. Failures are recorded, and the next round tries again."""
        rounds = 0
        while True:
            if rounds % ORDERS_EVERY == 0:
                self._isolated({}, "orders", self.apply_orders)
            self._isolated({}, "sweep", self.sweep, stop)
            rounds += 1
            if stop.wait(every_s):
                return

    def sweep(self, stop: Event | None = None) -> SweepResult:
        """Check every object with a deadline entry for this minute or an earlier one, until `stop` is set."""
        swept, until = SweepResult(), minute(self._now())
        orders = lru_cache(None)(self._orders.valid)
        for entry in self._store.names(DEADLINES):
            found = parse_deadline_key(entry)
            if found is None:
                continue
            when, node, name = found
            if when > until or (stop and stop.is_set()):
                break
            self._isolated(swept.failed, name, self._locked, entry, node, name, orders, swept)
        return swept

    def _locked(self, entry: str, node: str, name: str, orders: Callable[[str], list[Order]], swept: SweepResult) -> None:
        with self._store.lock("object", name):
            self._check_object(entry, node, name, orders(node), swept)

    def apply_orders(self) -> dict[str, str]:
        """Make deadline entries for the clips of new erasures and releases; returns failures with their reasons."""
        failed: dict[str, str] = {}
        for site in self._store.folders(ANNOUNCED):
            for node in self._store.folders(f"{ANNOUNCED}/{site}"):
                self._isolated(failed, f"orders of {site}/{node}", self._apply_orders_of, f"{site}/{node}", failed)
        return failed

    def _apply_orders_of(self, node: str, failed: dict[str, str]) -> None:
        for order in self._orders.valid(node):
            if order.act in ("erase", "release"):
                self._isolated(failed, f"order {order.number} of {node}", self._apply_order, order, node)

    def _isolated(self, failed: dict[str, str], name: str, work: Callable[P, object], *args: P.args, **named: P.kwargs) -> None:
        """Call `work`; any exception is recorded in `failed` under `name`. One bad object must not stop other deletions (R27)."""
        try:
            work(*args, **named)
        except Exception as problem:  # noqa: BLE001
            failed[name] = f"{type(problem).__name__}: {problem}"
            self._report(problem, name)

    def _report(self, problem: Exception, name: str) -> None:
        reason = f"{type(problem).__name__}: {problem}"
        about = "store" if isinstance(problem, OSError) else name
        try:
            self._ledger.note_hourly(f"sweep {about}", "fault", what="sweep", object=name, reason=reason)
        except StorageError as full:
            # Deletion frees space, so it must not stop because there is no space for the journal.
            stderr.line(f"fault: {printable(reason)}; not in the journal: {printable(full)}")

    def _apply_order(self, order: Order, node: str) -> None:
        done = f"_index/obeyed/{node}/{order.number:08}"
        if self._store.get(done) is not None:
            return
        entries = [deadline_key(self._now(), node, clip) for clip in self._clips_of(order, node)]
        for entry in entries:
            self._store.put(entry, b"")
        self._ledger.note("order", node=node, number=order.number, act=order.act, clips=len(entries))
        self._store.put(done, b"")

    def _clips_of(self, order: Order, node: str) -> list[str]:
        """Ids of the announced clips that an order concerns."""
        if order.since is None:
            return [clip for clip in order.clips if self._store.get(announced_key(node, clip)) is not None]
        names = [key.rpartition("/")[2].removesuffix(".json") for key in self._store.names(f"{ANNOUNCED}/{node}")]
        return [name for name in names if self._covers(order, node, name)]

    def _covers(self, order: Order, node: str, name: str) -> bool:
        """Whether an order concerns a clip. True for an object that cannot be read: the sweep then reports it."""
        try:
            known = read_announcement(self._store, node, name)
            return known is not None and known.kind == "clip" and covers(order, _clip_span(_record(known)))
        except (RequestRejectedError, RecordError):
            return True

    def _check_object(self, entry: str, node: str, name: str, orders: list[Order], swept: SweepResult) -> None:
        known = read_announcement(self._store, node, name)
        if known is None or known.due is None:
            self._drop_incomplete(known, node, name)
            self._store.erase(entry)
            return
        record, end = _record(known), Deletion(known.due)
        if isinstance(record, Manifest):
            end = deletion_of(_clip_span(record), known.due, orders, self._now())
        if end.due <= self._now():
            self._delete(record, known, end, node)
            swept.deleted.append(name)
        elif entry != (later := deadline_key(end.due, node, name)):
            self._store.put(later, b"")
            if end.order and known.due <= self._now():
                self._ledger.note("held", node=node, object=name, number=end.order, until=end.due.isoformat())
                swept.held.append(name)
        else:
            return
        self._store.erase(entry)

    def _drop_incomplete(self, known: Announcement | None, node: str, name: str) -> None:
        """Delete the parts of an object that was never completed; it no longer counts as incomplete. It stays announced."""
        record = _record(known) if known else None
        if record and known and receipt_of(self._store, record) is None:
            self._store.discard(upload_of(record, known.md5))
        remove_open_marker(self._store, node, name)

    def _delete(self, record: Record, known: Announcement, end: Deletion, node: str) -> None:
        whole = self._store.get(receipt_key(record)) is not None
        versions = self._store.erase(object_prefix(record))
        self._store.discard(upload_of(record, known.md5))
        if isinstance(record, Manifest):
            cloned_nodes.remove_from_chain(self._store, record)
        if self._store.get(deleted_key(node, record.id)) is None:
            line = self._ledger.note(
                "deleted",
                node=node,
                object=record.id,
                what=record.kind,
                state="whole" if whole else "incomplete",
                due=end.due.isoformat(),
                order=end.order,
                versions=versions,
            )
            self._store.put(deleted_key(node, record.id), line)
        remove_count(self._store, record, node)
        remove_open_marker(self._store, node, record.id)
        self._store.erase(announced_key(node, record.id))


def _record(known: Announcement) -> Record:
    """The record in an announcement, which was verified then."""
    token = known.manifest.encode()
    return peek(token, MANIFEST, Manifest) if known.kind == "clip" else peek(token, PARCEL, Parcel)


def _clip_span(record: Record) -> ClipSpan:
    assert isinstance(record, Manifest)
    return ClipSpan(record.clip, record.begin, record.end)
