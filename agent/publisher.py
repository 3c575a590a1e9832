"""From the outbox to the broker: a full window while there is a link, and nothing let go before the broker has it.

At least once: what was in flight when the link or the service went is sent again, with its id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event
from typing import Protocol

import msgspec

from agent.messages import Body, Envelope, Message, decode, encode
from agent.outbox import Mark, Outbox, Waiting
from agent.service import Runtime
from drivers.clock import SystemClock
from privacy.errors import StorageError

WINDOW = 20
LATE_S = 60.0
_POLL_S = 0.1
# Acknowledged messages leave the disk in one transaction: when all are answered, or beyond one of these.
_MOST_TAKEN = 100
_HELD_S = 1.0


class Send(Protocol):
    def __call__(self, tail: str, payload: bytes, *, retain: bool, expiry_s: int | None) -> int:
        """Hand over one message; the token by which the broker's answer will be known."""


class Storing:
    """Writes to the outbox by a service that must outlive a full disk: its uploads make room."""

    def __init__(self, runtime: Runtime, outbox: Outbox) -> None:
        self._runtime, self._outbox = runtime, outbox
        self.trouble = ""

    def put(self, *bodies: Body) -> bool:
        return self.do(lambda: self._outbox.put(*bodies))

    def do(self, write: Callable[[], object]) -> bool:
        """Whether the disk took it. If not, that is told once, and is tried again by whoever wants it written."""
        try:
            write()
        except StorageError as problem:
            if not self.trouble:
                self._runtime.log("error", str(problem), hint=problem.hint)
            self.trouble = str(problem)
            return False
        self.trouble = ""
        return True


class Publisher:
    """One thread's work; the link's thread only leaves the broker's answers in the queue."""

    def __init__(self, runtime: Runtime, outbox: Outbox, storing: Storing, send: Send) -> None:
        self._runtime, self._outbox, self._storing, self._send = runtime, outbox, storing, send
        self._answers: SimpleQueue[tuple[int, str]] = SimpleQueue()
        self._flying: dict[int, Waiting] = {}
        self._mark = Mark()
        self._heard: list[Waiting] = []
        self._late: list[Waiting] = []
        self._held_since = 0.0
        self.refused = self.expired = 0

    def answered(self, token: int, refusal: str) -> None:
        """The broker's answer to one message. From the link's thread; waits for nothing."""
        self._answers.put((token, refusal))

    def run(self, connected: Event) -> None:
        while not self._runtime.stop.is_set():
            if connected.is_set():
                self._send_waiting()
            self._settle()
        self._let_go()

    def flush(self, within_s: float) -> bool:
        """Send all that waits, when the thread has ended; whether the broker has it all."""
        end = time.monotonic() + within_s
        while self._outbox.pending() and time.monotonic() < end:
            self._send_waiting()
            self._settle()
        self._let_go()
        return not self._outbox.pending()

    def _send_waiting(self) -> None:
        room = WINDOW - len(self._flying)
        for waiting in self._outbox.take(self._mark, room) if room > 0 else []:
            self._mark = self._mark.past(waiting)
            payload, left = prepared(waiting, self._runtime.clock)
            if left is not None and left <= 0:
                self.expired += 1
                self._late.append(waiting)
                continue
            self._flying[self._send(waiting.tail, payload, retain=waiting.retain, expiry_s=left)] = waiting

    def _settle(self) -> None:
        """Wait a little for the broker's answers and let go of what it took, many in one write."""
        for token, refusal in _drain(self._answers, _POLL_S):
            waiting = self._flying.pop(token, None)
            if waiting is None:
                continue
            if refusal:
                # It stays in the outbox, for a broker that is set right, and is tried again at the next start.
                self.refused += 1
                self._runtime.log("error", f"broker refuses {waiting.tail}: {refusal}", hint="mend its access list for this node")
                continue
            if not self._heard:
                self._held_since = time.monotonic()
            self._heard.append(waiting)
        if not self._flying or len(self._heard) >= _MOST_TAKEN or time.monotonic() - self._held_since > _HELD_S:
            self._let_go()

    def _let_go(self) -> None:
        if self._heard and self._storing.do(lambda: self._outbox.delete(self._heard)):
            self._heard.clear()
        if self._late and self._storing.do(lambda: self._outbox.expire(self._late)):
            self._late.clear()


def prepared(waiting: Waiting, clock: SystemClock) -> tuple[bytes, int | None]:
    """The payload, marked as history if it is sent late, and the seconds until it is pointless: paho counts none down."""
    if not waiting.payload:
        return waiting.payload, waiting.expiry_s
    message = decode(waiting.payload)
    age = _age_s(message.envelope, clock)
    left = None if waiting.expiry_s is None else int(waiting.expiry_s - age)
    if age < LATE_S:
        return waiting.payload, left
    late = msgspec.structs.replace(message.envelope, hist=True)
    return encode(Message(late, message.body)), left


def _age_s(envelope: Envelope, clock: SystemClock) -> float:
    """Since it was put, ≥ 0. Within one boot by the clock that is never set: a node that learns the time ages nothing."""
    if envelope.boot_id == clock.boot_id:
        return (clock.mono_ms() - envelope.mono_ms) / 1000
    return max(0.0, (clock.now() - envelope.t).total_seconds())


def _drain(answers: SimpleQueue[tuple[int, str]], wait_s: float) -> Iterator[tuple[int, str]]:
    """The next answer, waited for a little, and what has come with it."""
    with suppress(Empty):
        yield answers.get(timeout=wait_s)
        while True:
            yield answers.get_nowait()
