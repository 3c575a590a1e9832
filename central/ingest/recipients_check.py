"""A clip that was sealed to somebody whom this centre does not know is refused, and noted in its journal (decision 0042)."""

from __future__ import annotations

from pathlib import Path

from central.ingest.ledger import Ledger
from central.keys.recipients import HINT, check_stanzas, strangers
from central.store.port import Record, Store, Upload, owner
from privacy.errors import RequestRejectedError
from privacy.records.manifest import Manifest
from privacy.records.seal import LONGEST_HEAD


def check_taken(record: Record, keys: Path, ledger: Ledger) -> None:
    """Refuse a clip that was sealed to a stranger, with an entry in the centre's journal; `RequestRejectedError`."""
    wrong = strangers(record, keys) if isinstance(record, Manifest) else ""
    if wrong:
        raise refuse(record, wrong, ledger)


def check_arrived(store: Store, upload: Upload, manifest: Manifest) -> None:
    """Whether the files that arrived can be opened by as many as their manifest names; `SealError` if not."""
    for file in manifest.files:
        check_stanzas(file.name, store.head(upload.keys[file.name], LONGEST_HEAD), manifest)


def refuse(record: Record, wrong: str, ledger: Ledger) -> RequestRejectedError:
    """The refusal of a clip that others can open than this centre says, with an entry in the centre's journal, one an hour."""
    about = f"{owner(record)} recipients"
    ledger.note_hourly(about, "refused", node=owner(record), object=record.id, what="recipients", reason=wrong)
    return RequestRejectedError(403, f"object {record.id}: {wrong}", HINT)
