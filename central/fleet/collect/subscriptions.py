"""Receives messages of the nodes. In a group of collectors events, health and answers come by a shared subscription, the rest,
which is retained, by a plain one; for a collector alone all subscriptions are plain.

The broker keeps a message until it is confirmed, and should send at most `MOST` before that: these wait here. What waits
from an earlier connection is dropped if the broker still has the session, because it sends them again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition

from agent.messages import PREFIX
from central.keys.bundle import Address
from drivers.mqtt.client import Client, Credentials, Delivery, Keeping

SHARED = ("event/+", "health/+", "clip/+", "rsp/+", "stats/+")
PLAIN = ("state", "describe", "alarm/+", "journal", "+/reported", "cert/+/wanted")
MOST = 500
"""Messages on their way: given by the broker and not confirmed."""
SESSION_S = 7 * 24 * 3600
"""So long the broker keeps messages for a collector that is away."""
_MOST_BYTES, _OVERHEAD = 64 * 1024 * 1024, 500
"""Of messages that wait here, each with so much beside topic and payload: as much as mosquitto queues for one client."""


@dataclass(frozen=True)
class Fresh:
    """Stands in the queue before the messages of a session that is new at the broker: what is retained comes again."""


def topics(share: str) -> tuple[str, ...]:
    """share: the name of the group of replicas, of which each message of the first kind goes to one; "" for a collector alone.

    Alone it needs no shared subscription, which mosquitto 2.0.11 forgets at a restart: it then drops what nodes send before the
    collector is back. Plain subscriptions are restored with their session.
    """
    shared = tuple(f"$share/{share}/{PREFIX}/+/+/{tail}" if share else f"{PREFIX}/+/+/{tail}" for tail in SHARED)
    return shared + tuple(f"{PREFIX}/+/+/{tail}" for tail in PLAIN)


class Subscriptions:
    """The connection to the broker, as a queue.

    changed      called in the client's thread with (connected, cause, whether the broker knew the session)
    retained_at  monotonic seconds when the last retained message came
    fresh_at     monotonic seconds when the session began, if it is new at the broker; else 0
    """

    def __init__(self, keys: Path, broker: Address, share: str, replica: str, changed: Callable[[bool, str, bool], None]) -> None:
        self._broker, self._changed = broker, changed
        self._waiting: deque[Delivery | Fresh] = deque()
        self._some = Condition()
        self.connected = False
        self.retained_at = self.fresh_at = 0.0
        self._bytes, self._overflowed = 0, False
        self._client = Client(
            f"collect-{share or 'alone'}-{replica}",
            _credentials(keys),
            acknowledged=lambda _token, _refusal: None,
            changed=self._on_change,
            received=lambda _topic, _payload: None,
            subscribe=topics(share),
            keeping=Keeping(self._on_delivery, MOST, SESSION_S),
        )

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def trouble(self) -> str:
        """Why the connection is of no use though it is there, as a stable code; "" if it is of use."""
        return self._client.trouble

    def run(self) -> None:
        """The body of the connection's thread: connect again and again, until `close`."""
        self._client.run(self._broker.host, self._broker.port)

    def close(self) -> None:
        """End the connection; the session stays at the broker, which keeps what is not confirmed."""
        self._client.close()

    def take(self, most: int, within_s: float) -> list[Delivery | Fresh]:
        """Up to `most` messages, in the order in which they came; empty if none came in that time."""
        with self._some:
            if not self._some.wait_for(lambda: bool(self._waiting), within_s) and self._overflowed:
                self._client.disconnect("receive_maximum_exceeded")
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._bytes -= sum(_size(one) for one in taken if isinstance(one, Delivery))
            return taken

    def confirm(self, delivery: Delivery) -> None:
        self._client.confirm(delivery)

    def _on_delivery(self, delivery: Delivery) -> None:
        if delivery.retained:
            self.retained_at = time.monotonic()
        with self._some:
            # mosquitto 2.0.11 does not keep to Receive Maximum: over 2,000 came before one was confirmed, with 2,000 nodes. What is
            # too much is dropped, and all after it, and comes in the next connection, made when what waits is stored and confirmed.
            self._overflowed = self._overflowed or self._bytes + _size(delivery) > _MOST_BYTES
            if not self._overflowed:
                self._bytes += _size(delivery)
                self._waiting.append(delivery)
                self._some.notify()

    def _on_change(self, connected: bool, cause: str) -> None:
        kept = connected and self._client.session_kept
        if connected:
            with self._some:
                self._overflowed = False
                if kept:
                    self._waiting.clear()
                    self._bytes = 0
                else:
                    self._waiting.append(Fresh())
                    self.fresh_at = time.monotonic()
        self.connected = connected
        self._changed(connected, cause, kept)


def _size(delivery: Delivery) -> int:
    return len(delivery.topic) + len(delivery.payload) + _OVERHEAD


def _credentials(keys: Path) -> Credentials:
    """The collector's own certificate if there is one, else that of the operators."""
    name = "collector" if (keys / "collector.pem").exists() else "ops"
    return Credentials(keys / "ca.pem", keys / f"{name}.pem", keys / f"{name}.key")
