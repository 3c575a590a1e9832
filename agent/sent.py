"""What every message of a node is: a frozen type whose class says how it leaves."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import msgspec
from msgspec import Struct

from agent.ranks import Rank


class Route(NamedTuple):
    """How a message leaves. topic: its part after site and node, with fields of the message in braces."""

    topic: str
    rank: Rank
    retain: bool = False


class Sent(Struct, frozen=True, tag_field="type"):
    """What every message of a node is: its class says how it leaves."""

    route: ClassVar[Route]

    @property
    def tail(self) -> str:
        """The part of the topic after site and node."""
        return self.route.topic.format_map(msgspec.structs.asdict(self))
