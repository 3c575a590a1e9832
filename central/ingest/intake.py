"""Taking objects in, whoever brings them: announced, sent in parts, put together, read back, and only then receipted.

Nothing is remembered here that another process beside the same store would lack. Every call may be repeated.
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
from central.ingest.deletion import Decisions, Fate, Filmed, answer_key, fate, order_key
from central.ingest.ledger import Ledger
from central.ingest.recipients_check import check_arrived, check_taken, refuse
from central.store import limits
from central.store.port import (
    Announcement,
    Part,
    Piece,
    Record,
    Store,
    Upload,
    announced,
    announced_key,
    close,
    deleted_key,
    home,
    marker,
    open_key,
    owner,
    receipt_key,
    receipt_of,
    record_key,
    refused_key,
    upload_of,
)
from privacy.errors import RecordError, RequestRejectedError, SealError
from privacy.foreign import END
from privacy.records.jws import Authority, Party, Signer, sha256_hex, sign, token_id
from privacy.records.manifest import RECEIPT, ClipId, FileName, Kind, Manifest, Parcel, Receipt, SealedFile, read_object
from privacy.records.order import Order, answers_to, read_answer

DIAG_KEPT = timedelta(days=30)
_MOST_OTHERS = 8
"""Other manifests that are kept for one clip."""
Md5 = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9+/]{{22}}=={END}")]
_NAME = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """What a node announces. md5: base64 MD5 of each part of each file; an object store cannot do without."""

    kind: Kind
    id: ClipId
    manifest: str
    md5: dict[FileName, tuple[Md5, ...]] = {}


@dataclass(frozen=True)
class Known:
    """An object that was announced: its record, verified, and where its files go."""

    record: Record
    token: bytes
    upload: Upload


@dataclass(frozen=True)
class State:
    """Where an object stands: what is still to be sent, or its receipt."""

    id: str
    parts: list[Part]
    receipt: bytes | None


class Intake:
    """Used from several threads. `node` is always the caller's "site/node", as its certificate says."""

    def __init__(
        self,
        store: Store,
        authority: Authority,
        receipts: Signer,
        decisions: Decisions,
        ledger: Ledger,
        now: Callable[[], datetime],
        keys: Path,
    ) -> None:
        self._store, self._authority, self._receipts = store, authority, receipts
        self.decisions, self.ledger, self._now, self._keys = decisions, ledger, now, keys

        @lru_cache(1024)
        def read(kind: Kind, token: bytes) -> tuple[Record, Party]:
            # The same bytes hold or do not hold for ever: a record is judged at its own time.
            return read_object(kind, token, authority)

        self._read = read

    def announce(self, wanted: Wanted, node: str) -> State:
        token = wanted.manifest.strip().encode()
        record = self._verified(wanted.kind, token, node)
        limits.check(record, wanted.id, wanted.md5)
        check_taken(record, self._keys, self.ledger)
        if isinstance(record, Parcel) and record.kind == "journal":
            segments.check_parcel(record)
            segments.check_not_refused(self._store, record)
        upload = upload_of(record, wanted.md5)
        with self._store.lock("object", record.id):
            known = announced(self._store, node, record.id)
            if known and known.manifest.encode() != token:
                self._conflict(record, token)
            if known:
                self._check_not_refused(record)
            receipt = receipt_of(self._store, record)
            if receipt is None and (known is None or known.md5 != wanted.md5):
                due = known.due if known else self._begin(record, node)
                entry = Announcement(record.kind, record.id, token.decode(), wanted.md5, due)
                self._store.put(announced_key(node, record.id), msgspec.json.encode(entry))
        return State(record.id, [] if receipt else self._store.parts(upload), receipt)

    def look(self, name: str, node: str) -> State:
        known = self._known(name, node)
        receipt = receipt_of(self._store, known.record)
        return State(name, [] if receipt else self._store.parts(known.upload), receipt)

    def piece(self, name: str, file: str, number: int, node: str) -> Piece | None:
        """Where a part goes; None if the object is here and needs none."""
        known = self._known(name, node)
        piece = known.upload.slice(file, number)
        if piece is None:
            raise RequestRejectedError(404, f"part: no such part (got {file} {number})", "read the list of parts again")
        return None if receipt_of(self._store, known.record) else Piece(self._store.sink(known.upload, piece), piece)

    def complete(self, name: str, node: str) -> bytes:
        """The receipt; the same one each time."""
        with self._store.lock("object", name):
            known = self._known(name, node)
            receipt = receipt_of(self._store, known.record)
            if receipt is None:
                receipt = self._receive(known, node)
            close(self._store, node, name)
            self._store.discard(known.upload)
        return receipt

    def answer(self, node: str, number: int, token: bytes) -> None:
        """Keep what a node says it did with an order; the first answer stands."""
        order = self._store.get(order_key(node, number))
        if order is None:
            raise RequestRejectedError(404, f"order {number}: no such order", "GET /v1/orders lists them")
        said = read_answer(token, self._authority)
        if (f"{said.site}/{said.node}", said.number) != (node, number) or not answers_to(said, order):
            raise RequestRejectedError(403, f"answer: is not to order {number} of {node}", "answer the order that was given")
        with self._store.lock("node", node):
            known = self._store.get(answer_key(node, number))
            if known is None:
                self._store.put(answer_key(node, number), token)
        if known is not None and token_id(known) != token_id(token):
            raise RequestRejectedError(409, f"order {number}: has another answer", "the first one stands")

    # -- the way of an object ------------------------------------------------------------------------------------------

    def _begin(self, record: Record, node: str) -> datetime | None:
        """When an object that is new here goes again, with a mark that sees to it; `RequestRejectedError` if it is gone already."""
        now, due = self._now(), self._due(record)
        if self._store.get(deleted_key(node, record.id)) is not None:
            raise RequestRejectedError(410, f"object {record.id}: was here and was deleted", "delete it")
        end = self._fate(record, due, node) if due else Fate(now + limits.UNFINISHED)
        if end.due <= now:
            raise RequestRejectedError(
                410, f"object {record.id}: is to be deleted" + (f" by order {end.order}" if end.order else ""), "delete it"
            )
        with self._store.lock("node", node):
            limits.check_room(self._store, record, node)
            limits.count_in(self._store, record, node, now)
            # The mark first: whatever a crash leaves, the sweep finds it.
            self._store.put(marker(end.due, node, record.id), b"")
            self._store.hint(open_key(node, record))
        return due

    def _receive(self, known: Known, node: str) -> bytes:
        missing = [part for part in self._store.parts(known.upload) if not part.done]
        if missing:
            raise RequestRejectedError(409, f"object {known.record.id}: {len(missing)} parts are missing", "PUT them first")
        self._check_files(known)
        self._check_sealed_to(known, node)
        if isinstance(known.record, Parcel) and known.record.kind == "journal":
            self._take_segment(known.record, known, node)
        self._store.put(record_key(known.record), known.token)
        if isinstance(known.record, Manifest):
            self._trace(known.record, known.token, node)
        receipt = self._sign(known.record, known.token)
        self._store.put(receipt_key(known.record), receipt)
        if announced(self._store, node, known.record.id) is None:
            # Deleted meanwhile by a process that no lock of this store keeps away.
            self._store.erase(home(known.record))
            raise RequestRejectedError(410, f"object {known.record.id}: was deleted", "delete it")
        return receipt

    def _check_files(self, known: Known) -> None:
        found = self._store.join(known.upload)
        wrong = [file for file in known.record.files if file not in found]
        for file in wrong:
            self._store.erase(known.upload.keys[file.name])
        if wrong:
            raise SealError(f"{wrong[0].name}: sha256: is not what the manifest says", "send its parts again")

    def _check_sealed_to(self, known: Known, node: str) -> None:
        """Refuse a clip that others can open than its manifest names: its files go, and that is remembered until its deadline."""
        if not isinstance(known.record, Manifest):
            return
        try:
            check_arrived(self._store, known.upload, known.record)
        except SealError as problem:
            self._store.put(refused_key(known.record), known.token)
            for key in known.upload.keys.values():
                self._store.erase(key)
            close(self._store, node, known.record.id)
            self._store.discard(known.upload)
            raise refuse(known.record, str(problem), self.ledger) from problem

    def _check_not_refused(self, record: Record) -> None:
        if isinstance(record, Manifest) and self._store.get(refused_key(record)) is not None:
            raise refuse(record, "its files were not sealed to those that its manifest names", self.ledger)

    def _take_segment(self, parcel: Parcel, known: Known, node: str) -> None:
        [arrived] = known.upload.keys.values()
        data = self._store.get(arrived) or b""
        with self._store.lock("node", node):
            try:
                gap = segments.check(self._store, parcel, data, self._authority)
            except RecordError as problem:
                self._refuse_segment(parcel, known, node, data, problem)
                raise segments.refusal(problem) from problem
            if gap:
                # Noted first: nothing is skipped in silence, whenever the power goes.
                unit = segments.unit_of(parcel)
                self.ledger.note("journal_gap", node=node, unit=unit, **{"from": gap.first, "to": gap.last})
            self._store.put(segments.place_of(parcel), data)
        self._store.erase(arrived)

    def _refuse_segment(self, parcel: Parcel, known: Known, node: str, data: bytes, problem: RecordError) -> None:
        """Evidence, as much as one unit may leave; then nothing of it is on its way any more."""
        facts = {"node": node, "object": parcel.id, "what": "journal", "reason": str(problem)}
        if segments.keep_aside(self._store, parcel, known.token, data, problem):
            self.ledger.note("refused", **facts)
        else:
            self.ledger.note_hourly(f"aside {node}", "refused", **facts)
        for key in (*known.upload.keys.values(), announced_key(node, parcel.id)):
            self._store.erase(key)
        close(self._store, node, parcel.id)
        self._store.discard(known.upload)

    def _trace(self, manifest: Manifest, token: bytes, node: str) -> None:
        with self._store.lock("node", node):
            fork = cloned_nodes.trace(self._store, manifest, sha256_hex(token))
        if fork:
            kind = "identity_twice" if fork.both else "chain_forked" if manifest.previous else "chain_restarted"
            self.ledger.note(kind, node=node, clip=fork.clip, other=fork.other, boot_id=manifest.boot_id)

    def _conflict(self, record: Record, token: bytes) -> None:
        """A second manifest for one clip: refused, noted, and kept beside the first until both go."""
        digest = sha256_hex(token)
        if len(list(islice(self._store.names(f"{home(record)}/other"), _MOST_OTHERS))) < _MOST_OTHERS:
            self._store.put(f"{home(record)}/other/{digest}.jws", token)
        about = f"{owner(record)} {record.id}"
        self.ledger.note_hourly(
            about, "refused", node=owner(record), object=record.id, what="manifest", reason=f"another is here ({digest})"
        )
        raise RequestRejectedError(409, f"object {record.id}: is here with another manifest", "a clip has one manifest for ever")

    # -- what is known -------------------------------------------------------------------------------------------------

    def _verified(self, kind: Kind, token: bytes, node: str) -> Record:
        """The record, if a unit of our CA signed it that may, and the caller is the same node."""
        record, signer = self._read(kind, token)
        if not owner(record) == signer.name == node or not _NAME.fullmatch(node):
            raise RequestRejectedError(
                403, f"object: belongs to {owner(record)}, the certificate is {node}'s", "use the node's own"
            )
        return record

    def _known(self, name: str, node: str) -> Known:
        """Only below the caller's own name: what is another's is not there."""
        try:
            msgspec.convert(name, ClipId)
        except msgspec.ValidationError as problem:
            raise RequestRejectedError(404, "object: not an object id", "ids are UUIDs of version 7") from problem
        found = announced(self._store, node, name)
        if found is None:
            raise RequestRejectedError(404, f"object {name}: was not announced by {node}", "POST /v1/objects first")
        token = found.manifest.encode()
        record = self._verified(found.kind, token, node)
        self._check_not_refused(record)
        return Known(record, token, upload_of(record, found.md5))

    def _due(self, record: Record) -> datetime | None:
        """A clip's own deadline, by our clock never later than any basis allows; a diagnosis by our clock; the rest stays."""
        if isinstance(record, Manifest):
            return min(record.deadline, self._now() + limits.RETENTION)
        return self._now() + DIAG_KEPT if record.kind == "diag" else None

    def _fate(self, record: Record, due: datetime, node: str) -> Fate:
        if not isinstance(record, Manifest):
            return Fate(due)
        orders: list[Order] = self.decisions.of(node)
        return fate(Filmed(record.clip, record.begin, record.end), due, orders, self._now())

    def _sign(self, record: Record, token: bytes) -> bytes:
        files: tuple[SealedFile, ...] = record.files
        receipt = Receipt(record.id, record.kind, record.site, record.node, sha256_hex(token), files, self._now())
        return sign(receipt, self._receipts, RECEIPT)


def now_utc() -> datetime:
    return datetime.now(UTC)
