"""Spool, keeper and orders of the process that holds a node's clips: the camera service, or `lykta retention` beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from agent.clips.keeper import Bounds, Keeper
from agent.clips.order_check import OrderCheck, OrderVerifier, Unit, answers
from agent.clips.orders import Orders
from agent.clips.spool import Spool
from agent.inbox.inbox import Inbox
from agent.outbox.outbox import Outbox
from agent.outbox.telling import Telling
from agent.runtime.config import Config
from drivers.clock import SystemClock
from privacy.records.journal import Journal
from privacy.records.jws import Signer
from provisioning.identity import command_keys, load_authority, load_signer
from provisioning.layout import Layout


@dataclass(frozen=True)
class Custody:
    """Spool, keeper and orders of one process."""

    layout: Layout
    spool: Spool
    outbox: Outbox
    journal: Journal
    telling: Telling
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
        """Open spool, keeper and orders with the key of that unit.

        retention  for a clip whose own manifest cannot be read
        revoked    called with the id of a record that an order revoked
        signer     loaded earlier by a process that then gave up the right to read the key
        """
        node, record = config.node, config.record
        signer, trusted = signer or load_signer(layout, unit), command_keys(layout)
        # Deletion does not depend on the journal (R27); a camera whose journal cannot be read does not begin to film.
        journal = Journal(layout.journal(unit), unit, signer, clock.now, lazy=unit == "retention")
        outbox = Outbox(layout.outbox, node.site, node.id, clock, now=False)
        spool = Spool(layout.spool, signer, load_authority(layout))
        bounds = Bounds(record.quota_mb * 1_000_000, record.quota_share, retention)
        me = OrderVerifier(unit, signer, trusted, node.site, node.id)
        check = OrderCheck(me, answers(layout), load_authority(layout))
        telling = Telling(outbox, journal)
        keeper = Keeper(spool, outbox, telling, clock, bounds, layout.camera, check.order_of)
        # Opened now, if possible: deletion and filming do not wait for the outbox, and on a full disk none can be opened.
        telling.add(outbox.pending)
        orders = Orders(layout, me, keeper, clock, revoked)
        inboxes = Inbox(layout, "order", telling.note), Inbox(layout, "receipt", telling.note)
        return cls(layout, spool, outbox, journal, telling, keeper, orders, *inboxes)

    def attend(self) -> bool:
        """The periodic work: delete clips past their deadline or over the quota, then process orders and receipts in the inbox.

        Deadlines first: they must not wait for input of another process (R27). Returns whether there is more to delete.
        """
        more = self.keeper.sweep()
        self.left_orders.empty(self.orders.obey)
        self.left_receipts.empty(lambda token: self.keeper.receipt(token.decode(errors="replace")))
        return more
