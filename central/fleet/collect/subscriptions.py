"""Receives messages of the nodes. In a group of collectors events, health and answers come by a shared subscription, the rest,
which is retained, by a plain one; for a collector alone all subscriptions are plain.

The broker keeps a message until it is confirmed, and should send at most `MOST` before that: these wait here. mosquitto 2.0.11
sends many more while it has a queue. Then the connection is not read until there is room; if there is none for long, because the
database is away, the rest of what this connection brings is left to the broker, which sends it again in the next one. What waits
from an earlier connection is dropped if the broker still has the session, for the same reason.
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
_MOST_WAITING = 4 * MOST
_ROOM_S = 10.0
"""Less than the broker waits for a sign of life (one and a half times the keep-alive of 20 s)."""


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
        self.connected = self._overrun = False
        self.retained_at = self.fresh_at = 0.0
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
            self._some.wait_for(lambda: bool(self._waiting), within_s)
            found = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._some.notify_all()
            if not found and self._overrun:
                self._client.disconnect("caught_up")
            return found

    def confirm(self, delivery: Delivery) -> None:
        self._client.confirm(delivery)

    def _on_delivery(self, delivery: Delivery) -> None:
        if delivery.retained:
            self.retained_at = time.monotonic()
        with self._some:
            # Once one was left, all are: the messages of a topic must not overtake each other.
            if not self._overrun and self._some.wait_for(lambda: len(self._waiting) < _MOST_WAITING, _ROOM_S):
                self._waiting.append(delivery)
                self._some.notify_all()
            else:
                self._overrun = True

    def _on_change(self, connected: bool, cause: str) -> None:
        kept = connected and self._client.session_kept
        if connected:
            with self._some:
                self._overrun = False
                if kept:
                    self._waiting.clear()
                else:
                    self._waiting.append(Fresh())
                    self.fresh_at = time.monotonic()
        self.connected = connected
        self._changed(connected, cause, kept)


def _credentials(keys: Path) -> Credentials:
    """The collector's own certificate if there is one, else that of the operators."""
    name = "collector" if (keys / "collector.pem").exists() else "ops"
    return Credentials(keys / "ca.pem", keys / f"{name}.pem", keys / f"{name}.key")
