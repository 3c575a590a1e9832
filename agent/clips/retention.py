"""`lykta retention`: deletes clips at their deadlines and executes orders in the inbox, whether the camera runs or not.

systemd's timer runs it, as the camera's user. It has no access to pictures or devices.
"""

from __future__ import annotations

from datetime import timedelta

from agent.clips.custody import Custody
from agent.runtime.clocks import clock_of
from agent.runtime.settings_in_force import settings_in_force
from privacy.errors import RecordError, StorageError
from privacy.records.journal import HEADS, Head, Journal, head_of
from privacy.records.jws import Signer
from provisioning.identity import load_records, load_signer
from provisioning.layout import Layout
from provisioning.service_user import as_spool_owner

_USUAL = timedelta(hours=72)


def serve(layout: Layout) -> int:
    """`lykta retention`: one pass, whether the camera runs or not. No access to pictures or devices."""
    signer = load_signer(layout, "retention")
    with as_spool_owner(layout):
        return _serve(layout, signer)


def _serve(layout: Layout, signer: Signer) -> int:
    config = settings_in_force(layout)
    clock = clock_of(layout, config, ["camera", "retention"])
    custody = Custody.take(layout, config, clock, "retention", usual_retention(layout), lambda _record: None, signer)
    before = _head(custody.journal)
    while custody.attend():
        pass
    custody.telling.add(custody.spool.clear_freed)
    if _head(custody.journal) != before:
        custody.telling.note(HEADS, camera=str(head_of(layout.journal("camera"))))
    custody.outbox.close()
    if custody.telling.trouble:
        raise custody.telling.trouble
    return 0


def _head(journal: Journal) -> Head | None:
    """The journal's head; None while the disk cannot be read."""
    try:
        return journal.head
    except StorageError:
        return None


def usual_retention(layout: Layout) -> timedelta:
    """The retention by the basis, else the 72 hours of the law's usual case: deletion never waits for a record (R27)."""
    try:
        return timedelta(hours=load_records(layout)[0].retention_hours)
    except RecordError:
        return _USUAL
