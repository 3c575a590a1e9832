"""Decides when an object is deleted, by its own deadline and by orders. Used both at its announcement and at its deletion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from central.store.port import Store
from privacy.errors import RecordError
from privacy.records.jws import TrustedKeys
from privacy.records.order import Order, concerns, verify_order


@dataclass(frozen=True)
class ClipSpan:
    """A clip's id and the time that it shows: what an order may refer to."""

    id: str
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Deletion:
    """When an object is deleted, and the number of the order that decides it; 0 if its own deadline does."""

    due: datetime
    order: int = 0


def deletion_of(clip: ClipSpan, deadline: datetime, orders: Iterable[Order], now: datetime) -> Deletion:
    """When a clip is deleted. Pure.

    A hold keeps it beyond deadline and erasure, until the hold ends or an order with a higher number releases it: a clip that
    was kept too long can still be deleted, one that was deleted is lost. An erasure moves the deadline forward, as long as
    `now` is before its `until`.
    """
    end, held = Deletion(deadline), Deletion(datetime.min.replace(tzinfo=deadline.tzinfo))
    for order in sorted((order for order in orders if covers(order, clip)), key=lambda order: order.number):
        match order.act:
            case "hold":
                held = max(held, Deletion(order.until, order.number), key=lambda one: one.due)
            case "release":
                held = Deletion(datetime.min.replace(tzinfo=deadline.tzinfo))
            case "erase" if order.issued <= now <= order.until:
                end = min(end, Deletion(order.issued, order.number), key=lambda one: one.due)
            case _:
                pass
    return max(end, held, key=lambda one: one.due)


def covers(order: Order, clip: ClipSpan) -> bool:
    """Whether an order concerns a clip: it names the clip, or a time that overlaps it."""
    return concerns(order, clip.id, clip.begin, clip.end)


class StoredOrders:
    """The orders in the store: signed texts, and the records of those that a trusted key signed."""

    def __init__(self, store: Store, commands: TrustedKeys) -> None:
        self._store = store

        @lru_cache(4096)
        def verified(token: bytes, site: str, node: str) -> Order | None:
            try:
                return verify_order(token, commands, site, node)
            except RecordError:
                return None

        self._verified = verified

    def tokens(self, node: str) -> dict[int, bytes]:
        """The signed text of every order for a node ("site/node"), by number. Unverified."""
        keys = (key for key in self._store.names(f"{node}/orders") if not key.endswith(".answer.jws"))
        found = {int(name): key for key in keys if (name := key.rpartition("/")[2].partition(".")[0]).isdecimal()}
        return {number: token for number, key in found.items() if (token := self._store.get(key)) is not None}

    def unanswered(self, node: str) -> list[str]:
        """Signed texts of a node's orders without an answer, oldest first. Unverified: the node verifies them itself."""
        keys = list(self._store.names(f"{node}/orders"))
        answered = {key.removesuffix(".answer.jws") for key in keys if key.endswith(".answer.jws")}
        open_ = [key for key in keys if not key.endswith(".answer.jws") and key.removesuffix(".jws") not in answered]
        return [token.decode(errors="replace").strip() for key in open_ if (token := self._store.get(key)) is not None]

    def valid(self, node: str) -> list[Order]:
        """A node's orders that are in force: signed by a trusted key, and for this node. Others are left out."""
        site, _, name = node.partition("/")
        found = (self._verified(token, site, name) for token in self.tokens(node).values())
        return [order for order in found if order]


def order_key(node: str, number: int) -> str:
    return f"{node}/orders/{number:08}.jws"


def answer_key(node: str, number: int) -> str:
    return f"{node}/orders/{number:08}.answer.jws"
