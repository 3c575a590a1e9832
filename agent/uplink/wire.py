"""The link to the broker as the publisher uses it: topics of this node, sizes as they are sent."""

from __future__ import annotations

from collections.abc import Callable

from drivers.mqtt.client import Client, Limits

PACKET_HEAD = 32
"""Bytes of a publish beside topic and payload, at most: lengths, number, expiry."""


class BrokerWire:
    """prefix: of every topic of the node; on_sent: called with the rest of the topic. `client` is set before the publisher runs."""

    client: Client

    def __init__(self, prefix: str, on_sent: Callable[[str], None]) -> None:
        self._prefix, self._on_sent = prefix, on_sent

    @property
    def limits(self) -> Limits:
        return self.client.limits

    @property
    def held(self) -> bool:
        return self.client.held

    def send(self, tail: str, payload: bytes, *, retain: bool, expiry_s: int | None) -> int:
        """The number by which the broker's answer names it."""
        self._on_sent(tail)
        return self.client.publish(f"{self._prefix}/{tail}", payload, retain=retain, expiry_s=expiry_s)

    def size(self, tail: str, payload: bytes) -> int:
        """Bytes of the packet, at most."""
        return len(f"{self._prefix}/{tail}") + len(payload) + PACKET_HEAD

    def disconnect(self, cause: str) -> None:
        self.client.disconnect(cause)
