"""Receives objects, over HTTP or from a folder: announcement, parts, joining, reading back, and only then the receipt.

All state is in the store, so several processes may serve one store. Every call may be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from central.ingest import cloned_nodes, segments
from central.ingest.deletion import ClipSpan, Deletion, StoredOrders, answer_key, deletion_of, order_key
from central.ingest.ledger import Ledger
from central.ingest.recipients_check import check_announced, check_received, log_rejection
from central.store import limits
from central.store.port import (
    Announcement,
    Part,
    PartWriter,
    Record,
    Store,
    Upload,
    announced_key,
    deadline_key,
    deleted_key,
    object_prefix,
    open_key,
    owner,
    read_announcement,
    receipt_key,
    receipt_of,
    record_key,
    refused_key,
    remove_open_marker,
    upload_of,
)
from privacy.errors import RecordError, RequestRejectedError, SealError
from privacy.foreign import END
from privacy.records.jws import Authority, Party, Signer, sha256_hex, sign, token_id
from privacy.records.manifest import RECEIPT, ClipId, FileName, Kind, Manifest, Parcel, Receipt, SealedFile, read_object
from privacy.records.order import Order, answers_to, read_answer

DIAG_KEPT = timedelta(days=30)
_MOST_OTHERS = 8
"""Most further manifests that are kept as evidence for one clip."""
Md5 = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9+/]{{22}}=={END}")]
_NAME = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


class AnnounceRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/objects. md5: base64 MD5 of each part, by file name; an S3 store requires it."""

    kind: Kind
    id: ClipId
    manifest: str
    md5: dict[FileName, tuple[Md5, ...]] = {}


@dataclass(frozen=True)
class AnnouncedObject:
    """An announced object: its verified record, the signed text, and where its files go."""

    record: Record
    token: bytes
    upload: Upload


@dataclass(frozen=True)
class ObjectState:
    """The state of an upload: its parts, or the receipt once it is complete."""

    id: str
    parts: list[Part]
    receipt: bytes | None


class Intake:
    """Receives objects into one store; used from several threads.

    In every method `node` is the caller's "site/node" from its certificate. Refusals are `RequestRejectedError` with an HTTP
    status, `RecordError` (403) or `SealError` (422).
    """

    def __init__(
        self,
        store: Store,
        authority: Authority,
        receipts: Signer,
        orders: StoredOrders,
        ledger: Ledger,
        now: Callable[[], datetime],
        keys: Path,
    ) -> None:
        self._store, self._authority, self._receipts = store, authority, receipts
        self.orders, self.ledger, self._now, self._keys = orders, ledger, now, keys

        @lru_cache(1024)
        def read(kind: Kind, token: bytes) -> tuple[Record, Party]:
            # May be cached: certificates are checked at the record's own time, so the result for the same bytes never changes.
            return read_object(kind, token, authority)

        self._read = read

    def announce(self, wanted: AnnounceRequest, node: str) -> ObjectState:
        """Register an object after checking its record and the limits; returns the parts to send, or the receipt."""
        token = wanted.manifest.strip().encode()
        record = self._verified(wanted.kind, token, node)
        limits.check_announcement(record, wanted.id, wanted.md5)
        check_announced(record, self._keys, self.ledger)
        if isinstance(record, Parcel) and record.kind == "journal":
            segments.check_parcel(record)
            segments.check_not_refused(self._store, record)
        upload = upload_of(record, wanted.md5)
        with self._store.lock("object", record.id):
            known = read_announcement(self._store, node, record.id)
            if known and known.manifest.encode() != token:
                self._conflict(record, token)
            if known:
                self._check_not_refused(record)
            receipt = receipt_of(self._store, record)
            if receipt is None and (known is None or known.md5 != wanted.md5):
                due = known.due if known else self._register(record, node)
                entry = Announcement(record.kind, record.id, token.decode(), wanted.md5, due)
                self._store.put(announced_key(node, record.id), msgspec.json.encode(entry))
        return ObjectState(record.id, [] if receipt else self._store.parts(upload), receipt)

    def state_of(self, name: str, node: str) -> ObjectState:
        """The state of an announced object. name: its id."""
        known = self._known(name, node)
        receipt = receipt_of(self._store, known.record)
        return ObjectState(name, [] if receipt else self._store.parts(known.upload), receipt)

    def part_writer(self, name: str, file: str, number: int, node: str) -> PartWriter | None:
        """Where to write part `number` (from 1) of a file; None if the object is already complete."""
        known = self._known(name, node)
        span = known.upload.part_range(file, number)
        if span is None:
            raise RequestRejectedError(404, f"part: no such part (got {file} {number})", "read the list of parts again")
        return None if receipt_of(self._store, known.record) else PartWriter(self._store.part_sink(known.upload, span), span)

    def complete(self, name: str, node: str) -> bytes:
        """Join and check the files and return the signed receipt; the same receipt each time."""
        with self._store.lock("object", name):
            known = self._known(name, node)
            receipt = receipt_of(self._store, known.record)
            if receipt is None:
                receipt = self._finish(known, node)
            remove_open_marker(self._store, node, name)
            self._store.discard(known.upload)
        return receipt

    def answer(self, node: str, number: int, token: bytes) -> None:
        """Store a node's signed answer to order `number`. Only the first answer is kept."""
        order = self._store.get(order_key(node, number))
        if order is None:
            raise RequestRejectedError(404, f"order {number}: no such order", "GET /v1/orders lists them")
        said = read_answer(token, self._authority)
        if (f"{said.site}/{said.node}", said.number) != (node, number) or not answers_to(said, order):
            raise RequestRejectedError(403, f"answer: is not for order {number} of {node}", "answer the order that was given")
        with self._store.lock("node", node):
            known = self._store.get(answer_key(node, number))
            if known is None:
                self._store.put(answer_key(node, number), token)
        if known is not None and token_id(known) != token_id(token):
            raise RequestRejectedError(409, f"order {number}: has another answer", "the first answer is kept")

    # -- steps of an upload --------------------------------------------------------------------------------------------

    def _register(self, record: Record, node: str) -> datetime | None:
        """Enter a new object: its deadline entry and markers. Returns its deadline; `RequestRejectedError` (410) if it is over."""
        now, due = self._now(), self._deadline(record)
        if self._store.get(deleted_key(node, record.id)) is not None:
            raise RequestRejectedError(410, f"object {record.id}: was received and was deleted", "delete it")
        end = self._deletion(record, due, node) if due else Deletion(now + limits.UNFINISHED)
        if end.due <= now:
            raise RequestRejectedError(
                410, f"object {record.id}: is to be deleted" + (f" by order {end.order}" if end.order else ""), "delete it"
            )
        with self._store.lock("node", node):
            limits.check_open_objects(self._store, record, node)
            limits.count_new(self._store, record, node, now)
            # The deadline entry first: the sweep then finds whatever a crash leaves.
            self._store.put(deadline_key(end.due, node, record.id), b"")
            self._store.put_marker(open_key(node, record))
        return due

    def _finish(self, known: AnnouncedObject, node: str) -> bytes:
        missing = [part for part in self._store.parts(known.upload) if not part.done]
        if missing:
            raise RequestRejectedError(409, f"object {known.record.id}: {len(missing)} parts are missing", "PUT them first")
        self._check_files(known)
        self._check_sealed_to(known, node)
        if isinstance(known.record, Parcel) and known.record.kind == "journal":
            self._place_segment(known.record, known, node)
        self._store.put(record_key(known.record), known.token)
        if isinstance(known.record, Manifest):
            self._check_chain(known.record, known.token, node)
        receipt = self._sign(known.record, known.token)
        self._store.put(receipt_key(known.record), receipt)
        if read_announcement(self._store, node, known.record.id) is None:
            # Another process deleted it meanwhile: an S3 store has no locks.
            self._store.erase(object_prefix(known.record))
            raise RequestRejectedError(410, f"object {known.record.id}: was deleted", "delete it")
        return receipt

    def _check_files(self, known: AnnouncedObject) -> None:
        found = self._store.join(known.upload)
        wrong = [file for file in known.record.files if file not in found]
        for file in wrong:
            self._store.erase(known.upload.keys[file.name])
        if wrong:
            raise SealError(f"{wrong[0].name}: sha256: is not what the manifest says", "send its parts again")

    def _check_sealed_to(self, known: AnnouncedObject, node: str) -> None:
        """Refuse a clip that is sealed to others than its manifest names: delete its files, keep the manifest till its deadline."""
        if not isinstance(known.record, Manifest):
            return
        try:
            check_received(self._store, known.upload, known.record)
        except SealError as problem:
            self._store.put(refused_key(known.record), known.token)
            for key in known.upload.keys.values():
                self._store.erase(key)
            remove_open_marker(self._store, node, known.record.id)
            self._store.discard(known.upload)
            raise log_rejection(known.record, str(problem), self.ledger) from problem

    def _check_not_refused(self, record: Record) -> None:
        if isinstance(record, Manifest) and self._store.get(refused_key(record)) is not None:
            raise log_rejection(record, "its files were not sealed to those that its manifest names", self.ledger)

    def _place_segment(self, parcel: Parcel, known: AnnouncedObject, node: str) -> None:
        [arrived] = known.upload.keys.values()
        data = self._store.get(arrived) or b""
        with self._store.lock("node", node):
            try:
                gap = segments.check_segment(self._store, parcel, data, self._authority)
            except RecordError as problem:
                self._refuse_segment(parcel, known, node, data, problem)
                raise segments.rejection(problem) from problem
            if gap:
                # The journal entry first, so that a power cut leaves no gap without an entry.
                unit = segments.unit_of(parcel)
                self.ledger.note("journal_gap", node=node, unit=unit, **{"from": gap.first, "to": gap.last})
            self._store.put(segments.segment_key(parcel), data)
        self._store.erase(arrived)

    def _refuse_segment(self, parcel: Parcel, known: AnnouncedObject, node: str, data: bytes, problem: RecordError) -> None:
        """Keep a refused segment as evidence, up to the limit for one unit, then remove its upload."""
        facts = {"node": node, "object": parcel.id, "what": "journal", "reason": str(problem)}
        if segments.keep_aside(self._store, parcel, known.token, data, problem):
            self.ledger.note("refused", **facts)
        else:
            self.ledger.note_hourly(f"aside {node}", "refused", **facts)
        for key in (*known.upload.keys.values(), announced_key(node, parcel.id)):
            self._store.erase(key)
        remove_open_marker(self._store, node, parcel.id)
        self._store.discard(known.upload)

    def _check_chain(self, manifest: Manifest, token: bytes, node: str) -> None:
        with self._store.lock("node", node):
            fork = cloned_nodes.add_to_chain(self._store, manifest, sha256_hex(token))
        if fork:
            kind = "identity_twice" if fork.both else "chain_forked" if manifest.previous else "chain_restarted"
            self.ledger.note(kind, node=node, clip=fork.clip, other=fork.other, boot_id=manifest.boot_id)

    def _conflict(self, record: Record, token: bytes) -> None:
        """Refuse a second manifest for one clip: it goes into the journal and is kept with the first one until both are deleted."""
        digest = sha256_hex(token)
        if len(list(islice(self._store.names(f"{object_prefix(record)}/other"), _MOST_OTHERS))) < _MOST_OTHERS:
            self._store.put(f"{object_prefix(record)}/other/{digest}.jws", token)
        about = f"{owner(record)} {record.id}"
        self.ledger.note_hourly(
            about, "refused", node=owner(record), object=record.id, what="manifest", reason=f"another manifest is known ({digest})"
        )
        raise RequestRejectedError(
            409, f"object {record.id}: was announced with another manifest", "a clip's manifest never changes"
        )

    # -- lookups -------------------------------------------------------------------------------------------------------

    def _verified(self, kind: Kind, token: bytes, node: str) -> Record:
        """The record, if a unit that may do so signed it, certified by our CA, and the caller is the same node."""
        record, signer = self._read(kind, token)
        if not owner(record) == signer.name == node or not _NAME.fullmatch(node):
            raise RequestRejectedError(
                403, f"object: belongs to {owner(record)}, the certificate is {node}'s", "each node uploads its own objects"
            )
        return record

    def _known(self, name: str, node: str) -> AnnouncedObject:
        """The announced object of that id of this node; `RequestRejectedError` (404) if there is none."""
        try:
            msgspec.convert(name, ClipId)
        except msgspec.ValidationError as problem:
            raise RequestRejectedError(404, "object: not an object id", "ids are UUIDs of version 7") from problem
        found = read_announcement(self._store, node, name)
        if found is None:
            raise RequestRejectedError(404, f"object {name}: was not announced by {node}", "POST /v1/objects first")
        token = found.manifest.encode()
        record = self._verified(found.kind, token, node)
        self._check_not_refused(record)
        return AnnouncedObject(record, token, upload_of(record, found.md5))

    def _deadline(self, record: Record) -> datetime | None:
        """When a new object is deleted: a clip at its deadline, at most `RETENTION` from now; a diagnosis after `DIAG_KEPT`; others
        never (None)."""
        if isinstance(record, Manifest):
            return min(record.deadline, self._now() + limits.RETENTION)
        return self._now() + DIAG_KEPT if record.kind == "diag" else None

    def _deletion(self, record: Record, due: datetime, node: str) -> Deletion:
        if not isinstance(record, Manifest):
            return Deletion(due)
        orders: list[Order] = self.orders.valid(node)
        return deletion_of(ClipSpan(record.clip, record.begin, record.end), due, orders, self._now())

    def _sign(self, record: Record, token: bytes) -> bytes:
        files: tuple[SealedFile, ...] = record.files
        receipt = Receipt(record.id, record.kind, record.site, record.node, sha256_hex(token), files, self._now())
        return sign(receipt, self._receipts, RECEIPT)


def now_utc() -> datetime:
    return datetime.now(UTC)
