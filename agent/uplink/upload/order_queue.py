"""Orders that came with an answer of the ingest, until the courier takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

_MOST = 1000


class OrderQueue:
    """Bounded. The ingest lists those again for which there is no room; `lost` counts them. Filled and emptied by the uploader's
    thread; `lost` may be read from any."""

    def __init__(self) -> None:
        self._orders: deque[str] = deque()
        self.lost = 0

    def put(self, orders: Iterable[str]) -> None:
        for order in orders:
            if len(self._orders) >= _MOST:
                self.lost += 1
            else:
                self._orders.append(order)

    def take(self) -> str | None:
        """The oldest order; None if none waits."""
        return self._orders.popleft() if self._orders else None
