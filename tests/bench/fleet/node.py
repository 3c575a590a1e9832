"""A node's link: it connects with the node's pauses, sends what waits in the node's order, and keeps it until it is acknowledged.

Pauses, limits, window and will are those of `drivers/mqtt/client.py` and `agent/uplink/publisher.py`.
"""

from __future__ import annotations

import itertools
import random
import ssl
import time
from collections import deque
from dataclasses import dataclass, field

from agent.messages import State, Tombstone, decode, topic
from agent.outbox.outbox import Waiting
from agent.uplink.publisher import LATE_S, WINDOW, prepared
from central.keys.broker import NODE_READS
from drivers.mqtt.client import HELD_S, SESSION_S, WILL_DELAY_S
from tests.bench.fleet import packets as mqtt
from tests.bench.fleet.line import Line
from tests.bench.fleet.loop import Loop
from tests.bench.fleet.outboxes import NodeClock, Store

_KEEPALIVE_S, _HANDSHAKE_S, _RECEIVE_MOST = 20, 20.0, 32
_TOKENS = 65_535
LOST = State("lost", "link_lost", None, None, "ops", {})


@dataclass
class Broker:
    """Where a node connects: address, and its own TLS context or None."""

    address: tuple[str, int]
    context: ssl.SSLContext | None


@dataclass
class Account:
    """What a node knows to be true at the end. heard: numbers that the broker acknowledged; named: by its tombstones, heard too."""

    heard: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)
    late: int = 0
    refused: int = 0
    sent: int = 0


class Node:
    """away: the link is down, and it does not try. up_at: monotonic seconds of the last CONNACK, 0 while it is not connected."""

    def __init__(self, loop: Loop, name: str, store: Store, clock: NodeClock, broker: Broker, random_: random.Random) -> None:
        self.name, self.store, self.clock, self.account = name, store, clock, Account()
        self._loop, self._broker, self._random = loop, broker, random_
        self._site, self._node = name.split("/")
        self._will = mqtt.Will(topic(self._site, self._node, "state"), store.will(LOST), WILL_DELAY_S)
        self._shortest, self._longest = random_.uniform(0.5, 1.5), random_.uniform(40, 60)
        self._pause = self._shortest
        self._line: Line | None = None
        self._again: deque[Waiting] = deque()
        self._flying: dict[int, Waiting] = {}
        self._stands: dict[str, Waiting] = {}
        self._tokens = itertools.cycle(range(1, _TOKENS))
        self._attempt, self._sent_at = 0, 0.0
        self.up_at, self.away = 0.0, False

    def waiting(self) -> set[int]:
        """Numbers that the broker has not acknowledged; what is only sent again is not among them."""
        return ({one.seq for one in (*self._flying.values(), *self._again)} | self.store.waiting()) - self.account.heard

    def begin(self) -> None:
        self._connect()
        self._loop.after(self._random.uniform(0, _KEEPALIVE_S), self._keep_alive)

    def lose_link(self, seconds: float) -> None:
        """As when the network goes: nothing is said to the broker, and nothing is tried for so long."""
        self.away = True
        if self._line:
            self._line.close()
            self._ended()
        self._loop.after(seconds, self._link_is_back)

    def pump(self) -> None:
        """Send what waits, as far as the window allows."""
        if not (self._line and self.up_at):
            return
        room = WINDOW - len(self._flying)
        if room > len(self._again):
            self._again.extend(self.store.take(room - len(self._again)))
        for _ in range(min(room, len(self._again))):
            self._send(self._line, self._again.popleft())
        self._line.flush()

    # -- the connection ------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self.away or self._line:
            return
        self._attempt += 1
        number = self._attempt
        self._line = Line(self._loop.selector, self._broker.address, self._broker.context, self._received, self._ended)
        self._line.send(mqtt.connect(self.name, _KEEPALIVE_S, SESSION_S, _RECEIVE_MOST, self._will))
        self._loop.after(_HANDSHAKE_S, lambda: self._give_up(number))

    def _give_up(self, attempt: int) -> None:
        if self._line and not self.up_at and attempt == self._attempt:
            self._line.close()
            self._ended()

    def _ended(self) -> None:
        """What stands retained goes first in the next connection, then what was on its way, then the rest."""
        held = bool(self.up_at) and time.monotonic() - self.up_at >= HELD_S
        self._line, self.up_at = None, 0.0
        order = {one.seq: one for one in (*self._stands.values(), *self._flying.values(), *self._again)}
        self._again, self._flying = deque(order.values()), {}
        self._pause = self._shortest if held else self._pause
        self._loop.after(self._pause, self._connect)
        self._pause = min(2 * self._pause, self._longest)

    def _link_is_back(self) -> None:
        self.away = False
        self._connect()

    def _keep_alive(self) -> None:
        if self._line and self.up_at and time.monotonic() - self._sent_at > _KEEPALIVE_S / 2:
            self._line.send(mqtt.PINGREQ)
            self._line.flush()
        self._loop.after(_KEEPALIVE_S / 2, self._keep_alive)

    # -- packets -------------------------------------------------------------------------------------------------------

    def _received(self, packet: mqtt.Packet) -> None:
        assert self._line
        if packet.kind == mqtt.CONNACK:
            if not mqtt.accepted(packet.body):
                raise ConnectionRefusedError(packet.body.hex())
            self.up_at = time.monotonic()
            self._line.send(mqtt.subscribe(tuple(topic(self._site, self._node, one) for one in NODE_READS), next(self._tokens)))
            self.pump()
        elif packet.kind == mqtt.PUBACK:
            self._acknowledged(*mqtt.answer(packet.body))
        elif packet.kind == mqtt.PUBLISH and packet.flags & 0b110:
            self._line.send(mqtt.puback(packet.body))

    def _acknowledged(self, token: int, refused: bool) -> None:
        waiting = self._flying.pop(token, None)
        if waiting is None:
            return
        if refused:
            self.account.refused += 1
            return
        self.store.delete([waiting])
        if waiting.payload:
            self.account.heard.add(waiting.seq)
        if waiting.tail == "event/tombstone":
            body = decode(waiting.payload).body
            if isinstance(body, Tombstone) and body.epoch == waiting.epoch:
                self.account.named.update(itertools.chain(*(range(first, last + 1) for first, last in body.ranges)))
        self.pump()

    def _send(self, line: Line, waiting: Waiting) -> None:
        payload = waiting.payload
        if payload and self.clock.now().timestamp() - waiting.put_ms / 1000 >= LATE_S:
            payload, _ = prepared(waiting, self.clock)  # type: ignore[arg-type]
            self.account.late += 1
        if waiting.retain:
            self._keep(waiting)
        token = next(one for one in self._tokens if one not in self._flying)
        self._flying[token] = waiting
        self.account.sent += 1
        self._sent_at = time.monotonic()
        line.send(mqtt.publish(topic(self._site, self._node, waiting.tail), payload, token, retain=waiting.retain))

    def _keep(self, waiting: Waiting) -> None:
        """What stands retained at the broker: the newest of each topic."""
        if waiting.payload:
            self._stands[waiting.tail] = waiting
        else:
            self._stands.pop(waiting.tail, None)
