"""Which holds of a clip are in force: decided by the numbers of the orders, not by when they arrived (R29, decision 0039).

A clip's folder holds `hold.jws`, the hold in force that ends last, `hold-<number>.jws` for each later one that ends before it, and
`release.jws`, the last release. An order may arrive twice, late, and before one with a smaller number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from agent.clips.spool import Spool
from privacy.errors import RecordError
from privacy.records.order import Order

OrderOf = Callable[[bytes], Order]
"""The order inside a token, verified; `RecordError` if it is not valid for this node."""


@dataclass(frozen=True)
class Hold:
    """One order to keep a clip."""

    number: int
    until: datetime
    token: bytes

    def replaces(self, other: Hold) -> bool:
        """Whether the other is redundant beside this one: every release that ends this one also ends the other."""
        return self.number >= other.number and self.until >= other.until


@dataclass(frozen=True)
class Held:
    """The holds of one clip that are in force, and the number of the last release."""

    holds: tuple[Hold, ...] = ()
    released: int = 0

    @property
    def until(self) -> datetime | None:
        """The end of the hold that ends last; None without a hold."""
        return max((hold.until for hold in self.holds), default=None)

    def with_hold(self, new: Hold) -> Held:
        if new.number <= self.released or any(hold.replaces(new) for hold in self.holds):
            return self
        return Held((*(hold for hold in self.holds if not new.replaces(hold)), new), self.released)

    def with_release(self, number: int) -> Held:
        return Held(tuple(hold for hold in self.holds if hold.number > number), max(number, self.released))


def read_held(spool: Spool, clip: str, order_of: OrderOf, odd: Callable[[Exception], None]) -> Held:
    """The holds in a clip's folder. A file that is no such order, or cannot be read, is passed to `odd` and ignored."""
    found = Held()
    for mark in ("hold", *spool.marks(clip, "hold-")) if spool.has_mark(clip, "hold") else ():
        for order, token in _read(spool, clip, mark, "hold", order_of, odd):
            found = found.with_hold(Hold(order.number, order.until, token))
    for order, _ in _read(spool, clip, "release", "release", order_of, odd):
        found = found.with_release(order.number)
    return found


def write_held(spool: Spool, clip: str, held: Held) -> None:
    """New files are written first: after a power cut in between, the release's number still decides. Raises `StorageError`."""
    inward = sorted(held.holds, key=lambda hold: hold.until, reverse=True)
    names = {f"hold-{hold.number:08}" if place else "hold": hold.token for place, hold in enumerate(inward)}
    for name, token in names.items():
        spool.mark(clip, name, token)
    for name in {"hold", *spool.marks(clip, "hold-")} - names.keys():
        spool.unmark(clip, name)


def _read(
    spool: Spool, clip: str, mark: str, act: str, order_of: OrderOf, odd: Callable[[Exception], None]
) -> Iterator[tuple[Order, bytes]]:
    try:
        token = spool.marked(clip, mark)
        if token is None:
            return
        order = order_of(token)
        if order.act != act:
            raise RecordError(f"order {order.number}: is no {act} (got {order.act})", "the file was put there by hand")
    except (RecordError, OSError) as problem:
        odd(problem)
        return
    yield order, token
