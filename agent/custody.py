"""Who has the clips of a node in hand: the camera service, or `lykta retention` while the camera is off. The same parts in both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from agent.inbox.inbox import Inbox
from agent.keeping import Bounds, Keeper
from agent.obeying import Holds, Obedience, Orders, Unit, answers
from agent.outbox.outbox import Outbox
from agent.runtime.config import Config
from agent.spool import Spool
from drivers.clock import SystemClock
from privacy.errors import RecordError, StorageError
from privacy.journal import HEADS, Head, Journal, head_of
from privacy.records import Signer
from provisioning.identity import command_keys, load_authority, load_records, load_signer
from provisioning.layout import Layout
from provisioning.service_user import as_keeper_of_clips

_USUAL = timedelta(hours=72)


@dataclass(frozen=True)
class Custody:
    """Spool, keeper and orders of one process."""

    layout: Layout
    spool: Spool
    outbox: Outbox
    journal: Journal
    keeper: Keeper
    orders: Orders
    left_orders: Inbox
    left_receipts: Inbox

    @classmethod
    def take(
        cls,
        layout: Layout,
        config: Config,
        clock: SystemClock,
        unit: Unit,
        retention: timedelta,
        revoked: Callable[[str], None],
        signer: Signer | None = None,
    ) -> Custody:
        """Everything opened with the key of that unit.

        retention  for a clip whose own manifest cannot be read
        revoked    told the id of a record that an order took out of force
        signer     loaded before by who gave up the right to read the key
        """
        node, record = config.node, config.record
        signer, trusted = signer or load_signer(layout, unit), command_keys(layout)
        # Deleting waits for no journal (R27); a camera whose journal cannot be read does not begin to film.
        journal = Journal(layout.journal(unit), unit, signer, clock.now, lazy=unit == "retention")
        outbox = Outbox(layout.outbox, node.site, node.id, clock, now=False)
        spool = Spool(layout.spool, signer, load_authority(layout))
        bounds = Bounds(record.quota_mb * 1_000_000, record.quota_share, retention)
        me = Obedience(unit, signer, trusted, node.site, node.id)
        holds = Holds(me, answers(layout), load_authority(layout))
        keeper = Keeper(spool, outbox, journal, clock, bounds, layout.camera, holds.order)
        # Now, if that can be; deletion and filming wait for no outbox, and a disk that takes no file lets nobody open one.
        keeper.later.do(outbox.pending)
        orders = Orders(layout, me, keeper, clock, revoked)
        inboxes = Inbox(layout, "order", keeper.note), Inbox(layout, "receipt", keeper.note)
        return cls(layout, spool, outbox, journal, keeper, orders, *inboxes)

    def attend(self) -> bool:
        """What is to be done now and then: what is past its time or does not fit, then orders and receipts that were left.

        Deadlines first: they stand behind nothing that somebody else left (R27). Whether there is more to delete.
        """
        more = self.keeper.sweep()
        self.left_orders.empty(self.orders.obey)
        self.left_receipts.empty(lambda token: self.keeper.receipt(token.decode(errors="replace")))
        return more


def serve(layout: Layout) -> int:
    """`lykta retention`: attend once, whether the camera runs or not. Nothing here sees a picture or a device."""
    signer = load_signer(layout, "retention")
    with as_keeper_of_clips(layout):
        return _serve(layout, signer)


def _serve(layout: Layout, signer: Signer) -> int:
    from agent.runtime.clocks import clock_of
    from agent.runtime.settings_in_force import settings_in_force

    config = settings_in_force(layout)
    clock = clock_of(layout, config, ["camera", "retention"])
    custody = Custody.take(layout, config, clock, "retention", usual_retention(layout), lambda _record: None, signer)
    before = _head(custody.journal)
    while custody.attend():
        pass
    custody.keeper.later.do(custody.spool.clear_freed)
    if _head(custody.journal) != before:
        custody.keeper.note(HEADS, camera=str(head_of(layout.journal("camera"))))
    custody.outbox.close()
    if custody.keeper.later.trouble:
        raise custody.keeper.later.trouble
    return 0


def _head(journal: Journal) -> Head | None:
    """None while the disk does not say."""
    try:
        return journal.head
    except StorageError:
        return None


def usual_retention(layout: Layout) -> timedelta:
    """By the basis, or the 72 hours of the law's usual case where there is none: deleting never waits for a record (R27)."""
    try:
        return timedelta(hours=load_records(layout)[0].retention_hours)
    except RecordError:
        return _USUAL
