"""Which messages the broker leaves without an answer, by their time in flight. Facts in, decision out; the publisher sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from agent.outbox.outbox import Waiting

SILENT_S = 60.0
"""Time in flight without an acknowledgement, after which the publisher disconnects."""
Key = tuple[str, int]


def key_of(waiting: Waiting) -> Key:
    return waiting.epoch, waiting.seq


@dataclass(frozen=True)
class Flight:
    """A message in flight.

    since_s    monotonic time when it was sent
    overtaken  whether the broker has answered a message that was sent later on the same connection
    """

    waiting: Waiting
    since_s: float
    overtaken: bool = False


@dataclass(frozen=True)
class Overdue:
    """Why a connection is given up.

    overtaken  messages without an answer although the broker answered later ones: it is the message, not the broker
    first      if there is none of them: the oldest message; it, or the broker, is the cause
    """

    overtaken: frozenset[Key]
    first: Key | None


def overdue(flights: Sequence[Flight], now_s: float, silent_s: float) -> Overdue | None:
    """What is overdue when the oldest message is in flight for more than `silent_s`; None before.

    flights   in the order of sending
    Half the time is enough for the others that were overtaken: the answers of a broker may be out of order by a moment.
    """
    if not flights or now_s - flights[0].since_s <= silent_s:
        return None
    overtaken = frozenset(key_of(one.waiting) for one in flights if one.overtaken and now_s - one.since_s > silent_s / 2)
    return Overdue(overtaken, None if overtaken else key_of(flights[0].waiting))


def answered(flying: Mapping[int, Flight], token: int) -> dict[int, Flight]:
    """What is in flight after the answer to one of them: those that were sent before it are overtaken.

    flying   by token, in the order of sending
    """
    before = set(takewhile(lambda one: one != token, flying))
    rest = {one: flight for one, flight in flying.items() if one != token}
    return {one: replace(flight, overtaken=True) if one in before else flight for one, flight in rest.items()}
