"""How urgent a message is: what leaves first when the link is back, and what goes when the outbox is full.

Each message's class has one (`agent.messages`); it follows from the topic alone, so that the messages of one topic never overtake
each other.
"""

from __future__ import annotations

from enum import IntEnum


class Rank(IntEnum):
    """In the order of sending."""

    URGENT = 0
    """Help and alarms: never dropped."""
    STATE = 1
    """What the node is and answers: state, describe, orders, records, heads of journals."""
    EVENT = 2
    """Clips, tamper, breach and what else happens."""
    PRESENCE = 3
    """How full the stop is, and its statistics."""
    HEALTH = 4
    TOMBSTONE = 5
    """What will not come: told when all else is, and never dropped, or the gap would have no cause."""


DROPS = (Rank.HEALTH, Rank.PRESENCE, Rank.EVENT, Rank.STATE)
"""In this order, the oldest of each first."""
