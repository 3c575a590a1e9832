"""What all messages of a node have in common: the envelope around each, and how it leaves."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Struct

from agent.ranks import Rank

ClockState = Literal["synced", "holdover", "unknown"]


class Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands around every message. seq is given per outbox in the insert transaction and never reused.

    A node has an outbox for its services and one of io's; `epoch` names which, and is a new one where a database broke.
    """

    v: Literal[1]
    id: str
    epoch: str
    seq: int
    t: datetime
    mono_ms: int
    boot_id: str
    clock: ClockState
    hist: bool


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
