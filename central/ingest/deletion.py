"""When an object is deleted: its own deadline, and what orders say about it. The same rule at announcement and at deletion."""

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
class Filmed:
    """What an order may name: a clip's id, and the span of time that it shows."""

    clip: str
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Fate:
    """When it goes, and the number of the order that says so; 0 if its own deadline does."""

    due: datetime
    order: int = 0


def fate(filmed: Filmed, deadline: datetime, orders: Iterable[Order], now: datetime) -> Fate:
    """A hold outlasts deadline and erasure until it ends or a later order releases it: what is kept can still be deleted.

    An erasure is obeyed until its `until` and brings the deadline forward; a release frees from the holds before it.
    """
    end, held = Fate(deadline), Fate(datetime.min.replace(tzinfo=deadline.tzinfo))
    for order in sorted((order for order in orders if covers(order, filmed)), key=lambda order: order.number):
        match order.act:
            case "hold":
                held = max(held, Fate(order.until, order.number), key=lambda one: one.due)
            case "release":
                held = Fate(datetime.min.replace(tzinfo=deadline.tzinfo))
            case "erase" if order.issued <= now <= order.until:
                end = min(end, Fate(order.issued, order.number), key=lambda one: one.due)
            case _:
                pass
    return max(end, held, key=lambda one: one.due)


def covers(order: Order, filmed: Filmed) -> bool:
    """Whether an order is about a clip: it names it, or any moment that the clip shows."""
    return concerns(order, filmed.clip, filmed.begin, filmed.end)


class Decisions:
    """The orders that stand in the store, as tokens and, where a key that is trusted here signed them, as records."""

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
        """Every order of a node ("site/node"), by number."""
        keys = (key for key in self._store.names(f"{node}/orders") if not key.endswith(".answer.jws"))
        found = {int(name): key for key in keys if (name := key.rpartition("/")[2].partition(".")[0]).isdecimal()}
        return {number: token for number, key in found.items() if (token := self._store.get(key)) is not None}

    def waiting(self, node: str) -> list[str]:
        """Orders that have no answer yet, oldest first, as they are signed: the node verifies them itself."""
        keys = list(self._store.names(f"{node}/orders"))
        answered = {key.removesuffix(".answer.jws") for key in keys if key.endswith(".answer.jws")}
        open_ = [key for key in keys if not key.endswith(".answer.jws") and key.removesuffix(".jws") not in answered]
        return [token.decode(errors="replace").strip() for key in open_ if (token := self._store.get(key)) is not None]

    def of(self, node: str) -> list[Order]:
        """What is decided and binds: another's signature, or one for another node, decides nothing."""
        site, _, name = node.partition("/")
        found = (self._verified(token, site, name) for token in self.tokens(node).values())
        return [order for order in found if order]


def order_key(node: str, number: int) -> str:
    return f"{node}/orders/{number:08}.jws"


def answer_key(node: str, number: int) -> str:
    return f"{node}/orders/{number:08}.answer.jws"
