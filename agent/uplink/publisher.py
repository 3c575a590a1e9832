"""From the outboxes to the broker: a full window while there is a link; no message is deleted before the broker has it.

At least once: messages in flight when the link or the service ended are sent again, with the same id.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event
from typing import Protocol

import msgspec

from agent.envelope import Envelope
from agent.messages import Message, decode, encode
from agent.outbox.outbox import Waiting
from agent.runtime.foreign_input import handling
from agent.runtime.service import Runtime
from agent.uplink.bad_messages import BadMessages
from agent.uplink.lanes import Lanes
from agent.uplink.link_state import hint_of
from agent.uplink.retained import Retained
from agent.uplink.storing import OutboxAccess
from agent.uplink.unanswered import SILENT_S, Flight, Overdue, answered, key_of, overdue
from drivers.clock import SystemClock
from drivers.mqtt.client import Limits
from drivers.mqtt.disconnect_causes import NOT_OF_A_MESSAGE
from privacy.errors import LyktaError

WINDOW = 20
LATE_S = 60.0
_POLL_S = 0.1
# Acknowledged messages are deleted in one transaction: when all are answered, or beyond one of these limits.
_MOST_TAKEN = 100
_HELD_S = 1.0


class Wire(Protocol):
    """Port to the link for the publisher. held: whether it has been up for a while."""

    @property
    def limits(self) -> Limits: ...

    @property
    def held(self) -> bool: ...

    def send(self, tail: str, payload: bytes, *, retain: bool, expiry_s: int | None) -> int:
        """Send one message; returns the token that identifies the broker's answer."""

    def size(self, tail: str, payload: bytes) -> int:
        """Upper bound of its packet, bytes."""

    def disconnect(self, cause: str) -> None:
        """End this connection; a new one is made."""


class Publisher:
    """Work of one thread; the link's thread only queues the broker's answers.

    silent_s  time in flight without an acknowledgement, after which the publisher disconnects
    """

    def __init__(self, runtime: Runtime, outboxes: Lanes, storing: OutboxAccess, wire: Wire, silent_s: float = SILENT_S) -> None:
        self._runtime, self._outboxes, self._storing, self._wire, self._silent_s = runtime, outboxes, storing, wire, silent_s
        self._retained = Retained(runtime.layout)
        self._bad = BadMessages()
        self._news: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._flying: dict[int, Flight] = {}
        self._overdue: Overdue | None = None
        self._again: deque[Waiting] = deque()
        self._heard: list[Waiting] = []
        self._late: list[Waiting] = []
        self._unreadable: list[Waiting] = []
        self._broke: list[Waiting] = []
        self._oversized: list[Waiting] = []
        self._held_since = 0.0
        self.refused = self.expired = self.set_aside = 0

    @property
    def too_large(self) -> int:
        """Number of messages larger than this broker's limit: they wait for a higher limit, or another broker."""
        return len(self._oversized)

    @property
    def unanswered(self) -> int:
        """Number of messages for which a connection was given up, as the broker did not answer them, and which are not settled."""
        return self._bad.unanswered

    def answered(self, token: int, refusal: str) -> None:
        """The broker's answer to one message. On the link's thread; never waits."""
        self._news.put(partial(self._answered, token, refusal))

    def returned(self, tokens: tuple[int, ...], cause: str) -> None:
        """A new connection, and the tokens without an answer on the last ones. On the link's thread; never waits."""
        self._news.put(partial(self._returned, tokens, cause))

    def repeat(self) -> None:
        """Send again what stands retained at the broker. From any thread."""
        self._news.put(self._repeat)

    def run(self, connected: Event) -> None:
        while not self._runtime.stop.is_set():
            self._runtime.beat()
            # In this order: a new connection queues its returned tokens before it counts as connected.
            up = connected.is_set()
            self._settle(0.0)
            if up:
                self._send_waiting()
                self._watch()
            self._settle(_POLL_S)
        self._remove_settled()

    def flush(self, within_s: float) -> bool:
        """Send all that waits, after the thread has ended; whether the broker has acknowledged all."""
        end = time.monotonic() + within_s
        while self._outboxes.pending() and time.monotonic() < end:
            self._send_waiting()
            self._settle(_POLL_S)
        self._remove_settled()
        return not self._outboxes.pending()

    # -- to the broker -------------------------------------------------------------------------------------------------

    @property
    def _window(self) -> int:
        """Messages in flight, at most."""
        return min(WINDOW, self._wire.limits.window)

    def _send_waiting(self) -> None:
        window = self._window
        if not self._again:
            self._take(window - len(self._flying))
        while self._again and len(self._flying) < window and self._may_go(self._again[0]):
            waiting = self._again.popleft()
            try:
                with handling(f"outbox: message {waiting.seq}"):
                    self._send(waiting)
            except LyktaError as problem:
                self._runtime.log("error", f"{problem}: given up", hint=problem.hint)
                self._unreadable.append(waiting)

    def _take(self, room: int) -> None:
        if room > 0:
            self._again.extend(self._outboxes.take(room))

    def _may_go(self, waiting: Waiting) -> bool:
        """Whether it may be sent now: a message that may have broken the link is sent alone."""
        if self._bad.goes_alone(waiting):
            return not self._flying
        return not any(self._bad.goes_alone(one.waiting) for one in self._flying.values())

    def _send(self, waiting: Waiting) -> None:
        payload, left = prepared(waiting, self._runtime.clock)
        most = self._wire.limits.packet
        if left is not None and left <= 0:
            self.expired += 1
            self._late.append(waiting)
        elif most is not None and self._wire.size(waiting.tail, payload) > most:
            self._oversized.append(waiting)
            self._runtime.log(
                "error", f"broker takes {most} bytes, {waiting.tail} has {len(payload)}", hint=hint_of("message_too_large")
            )
        else:
            retain = waiting.retain and self._retained.newest(waiting)
            token = self._wire.send(waiting.tail, payload, retain=retain, expiry_s=left)
            self._flying[token] = Flight(waiting, time.monotonic())

    def _watch(self) -> None:
        """Disconnect if a message has no answer for too long; retry messages that were put by when nothing else waits."""
        found = overdue(tuple(self._flying.values()), time.monotonic(), self._silent_s)
        if found:
            self._overdue = found
            self._wire.disconnect("no_puback")
        if not self._flying and not self._again and self._wire.held:
            self._again.extend(self._bad.idle())

    # -- from the broker -----------------------------------------------------------------------------------------------

    def _settle(self, wait_s: float) -> None:
        """Wait briefly for the broker's answers and delete acknowledged messages, many in one write."""
        for work in _drain(self._news, wait_s):
            work()
        if not self._flying or len(self._heard) >= _MOST_TAKEN or time.monotonic() - self._held_since > _HELD_S:
            self._remove_settled()

    def _answered(self, token: int, refusal: str) -> None:
        if token not in self._flying:
            return
        waiting = self._flying[token].waiting
        self._flying = answered(self._flying, token)
        self._again.extend(self._bad.passed(waiting))
        if refusal:
            # It stays in the outbox until the broker's configuration is corrected, and is tried again at the next start.
            self.refused += 1
            self._runtime.log("error", f"broker refuses {waiting.tail}: {refusal}", hint="correct its access list for this node")
            return
        self._storing.attempt(lambda: self._retained.taken(waiting))
        if not self._heard:
            self._held_since = time.monotonic()
        self._heard.append(waiting)

    def _returned(self, tokens: tuple[int, ...], cause: str) -> None:
        """Send again: first retained messages, so that later changes follow them; then those in flight, then the waiting ones."""
        on_their_way = [self._flying.pop(token).waiting for token in tokens if token in self._flying]
        why, self._overdue = self._overdue, None
        if why:
            again, broke = self._bad.left(on_their_way, why, max(1, self._window // 2))
        else:
            again, broke = self._bad.lost(on_their_way, blamed=cause not in NOT_OF_A_MESSAGE)
        stands = [one for one in self._retained.all() if not self._bad.holds(one)]
        order = {key_of(one): one for one in (*stands, *again, *self._oversized, *self._again)}
        self._oversized.clear()
        self._again = deque(order.values())
        for one in broke:
            self._set_aside(one, "not answered again and again" if why else "the link broke each time it was sent")

    def _set_aside(self, one: Waiting, reason: str) -> None:
        self.set_aside += 1
        self._runtime.log("error", f"{one.tail}: {reason}, others passed: set aside", seq=one.seq)
        self._storing.attempt(lambda: self._retained.set_aside(one))
        self._broke.append(one)

    def _repeat(self) -> None:
        """Not a topic that has a message on its way: the older one would then stand last."""
        busy = {one.waiting.tail for one in self._flying.values()} | {one.tail for one in self._again}
        self._again.extendleft(one for one in self._retained.all() if one.tail not in busy)

    def _remove_settled(self) -> None:
        self._heard = self._outboxes.remove_claimed(self._heard, "heard")
        self._late = self._outboxes.remove_claimed(self._late, "expired")
        self._unreadable = self._outboxes.remove_claimed(self._unreadable, "corrupt")
        self._broke = self._outboxes.remove_claimed(self._broke, "set_aside")


def prepared(waiting: Waiting, clock: SystemClock) -> tuple[bytes, int | None]:
    """The payload, marked as history if it is sent late, and the seconds to its expiry, as paho does not count them down."""
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
    """Seconds since it was put, ≥ 0. Within one boot by the monotonic clock: setting the time changes no age."""
    if envelope.boot_id == clock.boot_id:
        return (clock.mono_ms() - envelope.mono_ms) / 1000
    return max(0.0, (clock.now() - envelope.t).total_seconds())


def _drain(news: SimpleQueue[Callable[[], None]], wait_s: float) -> Iterator[Callable[[], None]]:
    """The next answer, after a short wait, and all others that are queued."""
    with suppress(Empty):
        yield news.get(timeout=wait_s) if wait_s else news.get_nowait()
        while True:
            yield news.get_nowait()
