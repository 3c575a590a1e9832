"""The courier: orders from the centre to the camera, which verifies them itself, and its signed answers back.

An order is passed on once between two polls. If it stays unanswered, because the camera did not run and the inbox has it, the
next poll passes it on again: the camera executes it once and repeats its answer.
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
        """Queue orders that came with an answer or over MQTT. The ingest lists those again for which there is no room."""
        for order in orders:
            if len(self._heard) >= _MOST_HEARD:
                self.lost += 1
            else:
                self._heard.append(order)

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
        while self._heard:
            count += self._carry(self._heard.popleft(), answer)
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
