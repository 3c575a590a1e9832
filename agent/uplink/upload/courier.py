"""The courier: orders from the centre to the camera, which verifies them itself, and its signed answers back.

An order is passed on once between two polls. If it stays unanswered, because the camera did not run and the inbox has it, the
next poll passes it on again: the camera executes it once and repeats its answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from agent.inbox.inbox import hand_over_order
from agent.runtime.foreign_input import handling
from agent.runtime.service import Runtime
from agent.uplink.upload.order_queue import OrderQueue
from privacy.errors import LyktaError, UnreachableError
from privacy.records.jws import peek, sha256_hex
from privacy.records.order import ORDER, Order
from provisioning.layout import Layout

_POLL_S = 3600.0
_RETRY_S = 60.0


class Courier:
    """Work of the uploader's thread."""

    def __init__(self, runtime: Runtime, orders: OrderQueue) -> None:
        self._layout: Layout = runtime.layout
        self._log = runtime.log
        self._orders = orders
        self._carried: set[str] = set()
        self._due_s = 0.0

    def poll(self, now_s: float, ask: Callable[[], None]) -> None:
        """Each hour ask for orders without an answer; after an error in a minute, so that a failing request delays no upload."""
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
        # With random jitter, so that the nodes of a fleet do not ask at the same time.
        self._due_s = now_s + _POLL_S * random.uniform(0.9, 1.1)

    def work(self, answer: Callable[[int, str], None]) -> int:
        """Pass on all queued orders; returns how many. answer: sends an order's number and the camera's answer to the centre."""
        count = 0
        while (order := self._orders.take()) is not None:
            count += self._carry(order, answer)
        return count

    def _carry(self, order: str, answer: Callable[[int, str], None]) -> bool:
        """Whether it was a valid order. `UnreachableError` if the ingest does not accept the answer: it lists the order again."""
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
