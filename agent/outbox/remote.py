"""Requests to an outbox in another process, and its answers, as sent between io and the uplink."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.outbox.outbox import Summary, Waiting
from agent.outbox.schema import GREATEST
from agent.ranks import Rank

End = Literal["heard", "expired", "corrupt", "set_aside"]
Epoch = Annotated[str, Meta(max_length=64)]
Seq = Annotated[int, Meta(ge=0, le=GREATEST)]
MOST_KEYS = 200
"""Most messages that one request releases."""
MOST_TAKEN = 50


class Take(Struct, frozen=True, forbid_unknown_fields=True, tag="take"):
    """Messages after a mark, the most urgent first."""

    epoch: Epoch
    taken: Annotated[tuple[Seq, ...], Meta(min_length=len(Rank), max_length=len(Rank))]
    limit: Annotated[int, Meta(ge=1, le=MOST_TAKEN)]


class LetGo(Struct, frozen=True, forbid_unknown_fields=True, tag="let_go"):
    """Rank and number of messages that the broker has, or that will not be sent."""

    epoch: Epoch
    keys: Annotated[tuple[tuple[Rank, Seq], ...], Meta(max_length=MOST_KEYS)]
    end: End


class TellGone(Struct, frozen=True, forbid_unknown_fields=True, tag="tell_gone"):
    """Put tombstones for dropped messages."""


class Look(Struct, frozen=True, forbid_unknown_fields=True, tag="look"):
    """Counts of what waits. whole: also by class."""

    whole: bool


class Find(Struct, frozen=True, forbid_unknown_fields=True, tag="find"):
    """One message by its number."""

    seq: Seq


Ask = Take | LetGo | TellGone | Look | Find


class Taken(Struct, frozen=True, tag="taken"):
    """Messages that wait, the most urgent first."""

    rows: tuple[Waiting, ...]


class Found(Struct, frozen=True, tag="found"):
    """Counts of messages that wait and were dropped; file_bytes: on the disk. By class only if that was requested."""

    pending: Annotated[int, Meta(ge=0, le=GREATEST)]
    dropped: Annotated[int, Meta(ge=0, le=GREATEST)]
    file_bytes: Annotated[int, Meta(ge=0, le=GREATEST)]
    summary: Summary | None = None


Answer = Taken | Found


class Key(Struct, frozen=True):
    """The key of a message."""

    epoch: str
    rank: int
    seq: int
