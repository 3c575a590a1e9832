"""Priority of a message: the order of sending when the link returns, and of dropping when the outbox is full.

Each message class has one (`agent.messages`); it depends only on the topic, so that the messages of one topic never overtake
each other.
"""

from __future__ import annotations

from enum import IntEnum


class Rank(IntEnum):
    """In the order of sending."""

    URGENT = 0
    """Help and alarms: never dropped."""
    STATE = 1
    """The node's state and answers: state, describe, orders, records, heads of journals."""
    EVENT = 2
    """Clips, tamper, breach and other events."""
    PRESENCE = 3
    """How full the stop is, and its statistics."""
    HEALTH = 4
    TOMBSTONE = 5
    """Tombstones, for messages that will not come: sent after all others, and never dropped, or the gap would have no cause."""


DROPS = (Rank.HEALTH, Rank.PRESENCE, Rank.EVENT, Rank.STATE)
"""In this order, the oldest of each first."""
