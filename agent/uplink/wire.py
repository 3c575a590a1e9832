"""The link to the broker as the publisher uses it: topics of this node, sizes as they are sent."""

from __future__ import annotations

from collections.abc import Callable

from agent.uplink.health.trends import RoundTrip
from drivers.mqtt.client import Client, Limits

PACKET_HEAD = 32
"""Bytes of a publish beside topic and payload, at most: lengths, number, expiry."""


class BrokerWire:
    """prefix: of every topic of the node; round_trip: times the broker's answers; on_sent: called with the rest of
    the topic. `client` is set before the publisher runs."""

    client: Client

    def __init__(self, prefix: str, round_trip: RoundTrip, on_sent: Callable[[str], None]) -> None:
        self._prefix, self._round_trip, self._on_sent = prefix, round_trip, on_sent
        self.sent_bytes = 0
        """Of all packets sent, at most."""

    @property
    def limits(self) -> Limits:
        return self.client.limits

    @property
    def held(self) -> bool:
        return self.client.held

    def send(self, tail: str, payload: bytes, *, retain: bool, expiry_s: int | None) -> int:
        """The number by which the broker's answer names it."""
        self._on_sent(tail)
        self.sent_bytes += self.size(tail, payload)
        token = self.client.publish(f"{self._prefix}/{tail}", payload, retain=retain, expiry_s=expiry_s)
        self._round_trip.sent(token)
        return token

    def size(self, tail: str, payload: bytes) -> int:
        """Bytes of the packet, at most."""
        return len(f"{self._prefix}/{tail}") + len(payload) + PACKET_HEAD

    def disconnect(self, cause: str) -> None:
        self.client.disconnect(cause)
