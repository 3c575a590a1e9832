"""Who has the clips of a node in hand: the camera service, or `lykta retention` while the camera is off. The same parts in both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from agent.config import Config
from agent.keeping import Bounds, Keeper
from agent.obeying import Holds, Obedience, Orders, Unit, answers, empty_receipts
from agent.outbox import Outbox
from agent.spool import Spool
from drivers.clock import SystemClock
from privacy.errors import RecordError
from privacy.journal import HEADS, Journal, head_of
from provisioning.identity import command_keys, load_authority, load_records, load_signer
from provisioning.layout import Layout

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

    @classmethod
    def take(
        cls, layout: Layout, config: Config, clock: SystemClock, unit: Unit, retention: timedelta, revoked: Callable[[str], None]
    ) -> Custody:
        """Everything opened with the key of that unit.

        retention  for a clip whose own manifest cannot be read
        revoked    told the id of a record that an order took out of force
        """
        node, record = config.node, config.record
        signer, trusted = load_signer(layout, unit), command_keys(layout)
        journal = Journal(layout.journal(unit), unit, signer, clock.now)
        outbox = Outbox(layout.outbox, node.site, node.id, clock)
        spool = Spool(layout.spool, signer, load_authority(layout))
        bounds = Bounds(record.quota_mb * 1_000_000, record.quota_share, retention)
        me = Obedience(unit, signer, trusted, node.site, node.id)
        holds = Holds(me, answers(layout), load_authority(layout))
        keeper = Keeper(spool, outbox, journal, clock, bounds, layout.camera, holds.until)
        orders = Orders(layout, me, keeper, clock, revoked)
        return cls(layout, spool, outbox, journal, keeper, orders)

    def attend(self) -> bool:
        """What is to be done now and then: orders and receipts that were left, then what is past its time or does not fit.

        Whether there is more to delete.
        """
        self.orders.empty_inbox()
        empty_receipts(self.layout, self.keeper)
        return self.keeper.sweep()


def serve(layout: Layout) -> int:
    """`lykta retention`: attend once, whether the camera runs or not. Nothing here sees a picture or a device."""
    from agent.clocks import clock_of
    from agent.overlay import settings_in_force

    config = settings_in_force(layout)
    clock = clock_of(layout, config, ["camera", "retention"])
    custody = Custody.take(layout, config, clock, "retention", usual_retention(layout), lambda _record: None)
    before = custody.journal.head
    while custody.attend():
        pass
    custody.keeper.later.do(custody.spool.clear_freed)
    if custody.journal.head != before:
        custody.keeper.note(HEADS, camera=str(head_of(layout.journal("camera"))))
    custody.outbox.close()
    if custody.keeper.later.trouble:
        raise custody.keeper.later.trouble
    return 0


def usual_retention(layout: Layout) -> timedelta:
    """By the basis, or the 72 hours of the law's usual case where there is none: deleting never waits for a record (R27)."""
    try:
        return timedelta(hours=load_records(layout)[0].retention_hours)
    except RecordError:
        return _USUAL
