"""The courier: orders from the centre to the camera, which verifies them itself, and its signed answers back.

An order is handed over once between two polls. If it stays unanswered, because the camera was away and the inbox has it, the
next poll hands it over again: the camera obeys once and gives the answer that it gave before.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

from agent.inbox.inbox import hand_over_order
from agent.runtime.foreign_input import handling
from agent.runtime.service import Runtime
from privacy.errors import LyktaError, UnreachableError
from privacy.records.jws import peek, sha256_hex
from privacy.records.order import ORDER, Order
from provisioning.layout import Layout

_POLL_S = 3600.0
_RETRY_S = 60.0
_MOST_HEARD = 1000


class Courier:
    """`hear` may be called from any thread; all else is the uploader's."""

    def __init__(self, runtime: Runtime) -> None:
        self._layout: Layout = runtime.layout
        self._log = runtime.log
        self._heard: deque[str] = deque()
        self.lost = 0
        self._carried: set[str] = set()
        self._due_s = 0.0

    def hear(self, orders: Iterable[str]) -> None:
        """Orders that came with an answer, or another way. What there is no room for the ingest names again."""
        for order in orders:
            if len(self._heard) >= _MOST_HEARD:
                self.lost += 1
            else:
                self._heard.append(order)

    def poll(self, now_s: float, ask: Callable[[], None]) -> None:
        """Each hour ask for what has no answer yet; after trouble in a minute, so that an ingest without orders hurts no upload."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + _RETRY_S
        try:
            ask()
        except UnreachableError:
            raise
        except LyktaError as problem:
            self._log("warning", f"orders: {problem}", hint=problem.hint)
        self._carried.clear()
        # Never in step with the rest of the fleet.
        self._due_s = now_s + _POLL_S * random.uniform(0.9, 1.1)

    def work(self, answer: Callable[[int, str], None]) -> int:
        """Carry all orders that were heard; how many. answer: takes an order's number and the camera's answer to the centre."""
        count = 0
        while self._heard:
            count += self._carry(self._heard.popleft(), answer)
        return count

    def _carry(self, order: str, answer: Callable[[int, str], None]) -> bool:
        """Whether it was one to carry. `UnreachableError` if the ingest does not take the answer: it gives the order again."""
        mark = sha256_hex(order.encode())
        if mark in self._carried:
            return False
        try:
            with handling("orders"):
                number = peek(order.encode(), ORDER, Order).number
                if said := hand_over_order(self._layout, f"{number:08}", order):
                    answer(number, said.answer)
        except UnreachableError:
            raise
        except LyktaError as problem:
            self._log("warning", f"orders: {problem}", hint=problem.hint)
        self._carried.add(mark)
        return True
