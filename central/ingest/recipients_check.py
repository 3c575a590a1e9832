"""Refuses clips that are sealed to a recipient unknown to this centre, with an entry in its journal (decision 0042)."""

from __future__ import annotations

from pathlib import Path

from central.ingest.ledger import Ledger
from central.keys.recipients import HINT, check_stanzas, recipients_problem
from central.store.port import Record, Store, Upload, owner
from privacy.errors import RequestRejectedError
from privacy.records.manifest import Manifest
from privacy.records.seal import LONGEST_HEAD


def check_announced(record: Record, keys: Path, ledger: Ledger) -> None:
    """`RequestRejectedError` and a journal entry if a clip's manifest names an unknown recipient, or none. keys: folder of keys."""
    wrong = recipients_problem(record, keys) if isinstance(record, Manifest) else ""
    if wrong:
        raise log_rejection(record, wrong, ledger)


def check_received(store: Store, upload: Upload, manifest: Manifest) -> None:
    """`SealError` if a stored file is sealed to another number of recipients than the manifest names."""
    for file in manifest.files:
        check_stanzas(file.name, store.first_bytes(upload.keys[file.name], LONGEST_HEAD), manifest)


def log_rejection(record: Record, wrong: str, ledger: Ledger) -> RequestRejectedError:
    """Makes the refusal of a clip with wrong recipients, and a journal entry (one an hour and node). wrong: what is wrong."""
    about = f"{owner(record)} recipients"
    ledger.note_hourly(about, "refused", node=owner(record), object=record.id, what="recipients", reason=wrong)
    return RequestRejectedError(403, f"object {record.id}: {wrong}", HINT)
