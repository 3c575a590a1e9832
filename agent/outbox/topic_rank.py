"""The rank of a message by its topic: of rows that an older version stored, and of retained messages, only the topic is known."""

from __future__ import annotations

import re
from typing import get_args

from agent.messages import Body
from agent.ranks import Rank

# Topics without a field first: `event/{what}` would match `event/help` as well.
_ROUTES = sorted((kind.route for kind in get_args(Body)), key=lambda route: route.topic.count("{"))
_RANKS = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route.topic))), route.rank) for route in _ROUTES]


def rank_of(tail: str) -> Rank:
    """The rank of the message that this topic is for; `Rank.EVENT` if no class of messages has it.

    tail   the part of the topic after site and node
    """
    return next((rank for pattern, rank in _RANKS if pattern.fullmatch(tail)), Rank.EVENT)
