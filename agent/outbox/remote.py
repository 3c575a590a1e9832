"""An outbox that another process holds: what may be asked of it, and its answers, as they pass between io and the uplink."""

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
"""Messages that one request lets go of."""
MOST_TAKEN = 50


class Take(Struct, frozen=True, forbid_unknown_fields=True, tag="take"):
    """Messages after a mark, the most urgent first."""

    epoch: Epoch
    taken: Annotated[tuple[Seq, ...], Meta(min_length=len(Rank), max_length=len(Rank))]
    limit: Annotated[int, Meta(ge=1, le=MOST_TAKEN)]


class LetGo(Struct, frozen=True, forbid_unknown_fields=True, tag="let_go"):
    """Rank and number of messages that the broker has, or that nobody will get."""

    epoch: Epoch
    keys: Annotated[tuple[tuple[Rank, Seq], ...], Meta(max_length=MOST_KEYS)]
    end: End


class TellGone(Struct, frozen=True, forbid_unknown_fields=True, tag="tell_gone"):
    """Put tombstones for what went."""


class Look(Struct, frozen=True, forbid_unknown_fields=True, tag="look"):
    """How much waits; all of it by class."""

    whole: bool


class Find(Struct, frozen=True, forbid_unknown_fields=True, tag="find"):
    """One message by its number."""

    seq: Seq


Ask = Take | LetGo | TellGone | Look | Find


class Taken(Struct, frozen=True, tag="taken"):
    """Messages that wait, the most urgent first."""

    rows: tuple[Waiting, ...]


class Found(Struct, frozen=True, tag="found"):
    """What waits and was dropped, in messages; file_bytes: on the disk. All of it by class only where that was asked for."""

    pending: Annotated[int, Meta(ge=0, le=GREATEST)]
    dropped: Annotated[int, Meta(ge=0, le=GREATEST)]
    file_bytes: Annotated[int, Meta(ge=0, le=GREATEST)]
    summary: Summary | None = None


Answer = Taken | Found


class Key(Struct, frozen=True):
    """A message's name."""

    epoch: str
    rank: int
    seq: int
