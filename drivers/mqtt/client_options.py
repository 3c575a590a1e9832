"""What a client of the broker is given: its will, and how it confirms what it receives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Will:
    """The message that the broker publishes when the connection is lost."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Delivery:
    """A received message that the broker keeps until `Client.confirm`.

    retained             the broker had stored it before this client subscribed
    qos                  0 or 1; a message with QoS 0 is not kept by the broker
    connection, number   which message of which connection is confirmed
    """

    topic: str
    payload: bytes
    retained: bool
    qos: int
    connection: int
    number: int


@dataclass(frozen=True)
class Keeping:
    """For a client that acknowledges a message only when it has stored it.

    delivered   called with each message instead of `received`; the broker sends it again in the next connection until `confirm`
    most        messages that the broker may send before one of them is confirmed (Receive Maximum)
    session_s   seconds that the broker keeps the session, and queues messages, after the connection ended
    """

    delivered: Callable[[Delivery], None]
    most: int
    session_s: int
