"""How urgent a message is: what leaves first when the link is back, and what goes when the outbox is full.

The rank follows from the topic alone, so that the messages of one topic never overtake each other.
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
_FIRST = {
    "alarm": Rank.URGENT,
    "state": Rank.STATE,
    "describe": Rank.STATE,
    "rsp": Rank.STATE,
    "config": Rank.STATE,
    "basis": Rank.STATE,
    "view": Rank.STATE,
    "cert": Rank.STATE,
    "journal": Rank.STATE,
    "stats": Rank.PRESENCE,
    "health": Rank.HEALTH,
}
_EVENTS = {"help": Rank.URGENT, "presence": Rank.PRESENCE, "tombstone": Rank.TOMBSTONE}


def rank_of(tail: str) -> Rank:
    """tail: the part of the topic after site and node."""
    first, _, rest = tail.partition("/")
    return _EVENTS.get(rest, Rank.EVENT) if first == "event" else _FIRST.get(first, Rank.EVENT)
