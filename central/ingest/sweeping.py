"""Deletion at the centre: every version of an object, in the minute in which its deadline passes (R27, R28).

Marks by minute say what to look at, so that nothing lists everything. A mark is only a hint: what counts is the object's
own deadline and the orders that stand at that moment. Every step may be done twice, by any process, after any crash: the
mark goes last. Whatever one mark, order or object brings about is noted and keeps no other from going.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from threading import Event
from typing import ParamSpec

from central.ingest import cloned_nodes
from central.ingest.deletion import Decisions, Fate, Filmed, covers, fate
from central.ingest.ledger import Ledger
from central.store.limits import count_out
from central.store.port import (
    ANNOUNCED,
    DEADLINES,
    Announcement,
    Record,
    Store,
    announced,
    announced_key,
    close,
    deleted_key,
    home,
    marked,
    marker,
    minute,
    receipt_key,
    receipt_of,
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
"""Sweeps between two looks for new orders in the folders of all nodes: five minutes. A hold is seen at each deletion."""


@dataclass
class Swept:
    """Ids of what was deleted, and of what was due but for a hold; and why others could not be looked at or deleted."""

    deleted: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class Sweeper:
    """One thread's work, in every process beside the store."""

    def __init__(self, store: Store, decisions: Decisions, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self._store, self._decisions, self._ledger, self._now = store, decisions, ledger, now

    def run(self, stop: Event, every_s: float = EVERY_S) -> None:
        """Until told to stop. Trouble is noted and the next round tries again: what is due stays marked."""
        rounds = 0
        while True:
            if rounds % ORDERS_EVERY == 0:
                self._apart({}, "orders", self.obey)
            self._apart({}, "sweep", self.sweep, stop)
            rounds += 1
            if stop.wait(every_s):
                return

    def sweep(self, stop: Event | None = None) -> Swept:
        """Look at everything that is marked for this minute or an earlier one, unless told to stop on the way."""
        swept, until = Swept(), minute(self._now())
        orders = lru_cache(None)(self._decisions.of)
        for mark in self._store.names(DEADLINES):
            found = marked(mark)
            if found is None:
                continue
            when, node, name = found
            if when > until or (stop and stop.is_set()):
                break
            self._apart(swept.failed, name, self._locked, mark, node, name, orders, swept)
        return swept

    def _locked(self, mark: str, node: str, name: str, orders: Callable[[str], list[Order]], swept: Swept) -> None:
        with self._store.lock("object", name):
            self._look(mark, node, name, orders(node), swept)

    def obey(self) -> dict[str, str]:
        """Mark what a new erasure or release is about; the sweep then judges it as it judges anything. Why others could not be."""
        failed: dict[str, str] = {}
        for site in self._store.folders(ANNOUNCED):
            for node in self._store.folders(f"{ANNOUNCED}/{site}"):
                self._apart(failed, f"orders of {site}/{node}", self._obey_all, f"{site}/{node}", failed)
        return failed

    def _obey_all(self, node: str, failed: dict[str, str]) -> None:
        for order in self._decisions.of(node):
            if order.act in ("erase", "release"):
                self._apart(failed, f"order {order.number} of {node}", self._obey, order, node)

    def _apart(self, failed: dict[str, str], name: str, work: Callable[P, object], *args: P.args, **named: P.kwargs) -> None:
        """Deleting (R27) must not end for one object, whatever is wrong with it: that is told, and the rest goes on."""
        try:
            work(*args, **named)
        except Exception as problem:  # noqa: BLE001
            failed[name] = f"{type(problem).__name__}: {problem}"
            self._tell(problem, name)

    def _tell(self, problem: Exception, name: str) -> None:
        reason = f"{type(problem).__name__}: {problem}"
        about = "store" if isinstance(problem, OSError) else name
        try:
            self._ledger.note_hourly(f"sweep {about}", "fault", what="sweep", object=name, reason=reason)
        except StorageError as full:
            # Deleting makes room: it must not end because the journal has none.
            stderr.line(f"fault: {printable(reason)}; not in the journal: {printable(full)}")

    def _obey(self, order: Order, node: str) -> None:
        done = f"_index/obeyed/{node}/{order.number:08}"
        if self._store.get(done) is not None:
            return
        marks = [marker(self._now(), node, clip) for clip in self._concerned(order, node)]
        for mark in marks:
            self._store.put(mark, b"")
        self._ledger.note("order", node=node, number=order.number, act=order.act, clips=len(marks))
        self._store.put(done, b"")

    def _concerned(self, order: Order, node: str) -> list[str]:
        """Clips that are here, or on their way, and that an order is about."""
        if order.since is None:
            return [clip for clip in order.clips if self._store.get(announced_key(node, clip)) is not None]
        names = [key.rpartition("/")[2].removesuffix(".json") for key in self._store.names(f"{ANNOUNCED}/{node}")]
        return [name for name in names if self._is_about(order, node, name)]

    def _is_about(self, order: Order, node: str, name: str) -> bool:
        """An object that cannot be read is one: the sweep then says what is wrong with it."""
        try:
            known = announced(self._store, node, name)
            return known is not None and known.kind == "clip" and covers(order, _filmed(_record(known)))
        except (RequestRejectedError, RecordError):
            return True

    def _look(self, mark: str, node: str, name: str, orders: list[Order], swept: Swept) -> None:
        known = announced(self._store, node, name)
        if known is None or known.due is None:
            self._end(known, node, name)
            self._store.erase(mark)
            return
        record, end = _record(known), Fate(known.due)
        if isinstance(record, Manifest):
            end = fate(_filmed(record), known.due, orders, self._now())
        if end.due <= self._now():
            self._delete(record, known, end, node)
            swept.deleted.append(name)
        elif mark != (later := marker(end.due, node, name)):
            self._store.put(later, b"")
            if end.order and known.due <= self._now():
                self._ledger.note("held", node=node, object=name, number=end.order, until=end.due.isoformat())
                swept.held.append(name)
        else:
            return
        self._store.erase(mark)

    def _end(self, known: Announcement | None, node: str, name: str) -> None:
        """What never came whole makes room: its parts go, and it no longer counts. It stays announced and may still come."""
        record = _record(known) if known else None
        if record and known and receipt_of(self._store, record) is None:
            self._store.discard(upload_of(record, known.md5))
        close(self._store, node, name)

    def _delete(self, record: Record, known: Announcement, end: Fate, node: str) -> None:
        whole = self._store.get(receipt_key(record)) is not None
        versions = self._store.erase(home(record))
        self._store.discard(upload_of(record, known.md5))
        if isinstance(record, Manifest):
            cloned_nodes.forget(self._store, record)
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
        count_out(self._store, record, node)
        close(self._store, node, record.id)
        self._store.erase(announced_key(node, record.id))


def _record(known: Announcement) -> Record:
    """As it was verified when it was announced."""
    token = known.manifest.encode()
    return peek(token, MANIFEST, Manifest) if known.kind == "clip" else peek(token, PARCEL, Parcel)


def _filmed(record: Record) -> Filmed:
    assert isinstance(record, Manifest)
    return Filmed(record.clip, record.begin, record.end)
