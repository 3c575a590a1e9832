"""The subscriptions of one connection: granted, refused, or without an answer. Facts in, decision out; the client sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

ANSWER_S = 20.0
"""The broker answers each request to subscribe within so many seconds."""
AGAIN_S = 60.0
"""Refused topics are asked for again so many seconds after the last answer: an access list may be mended meanwhile."""


class Reason(Protocol):
    """A reason code of a SUBACK (MQTT v5, section 3.9.3)."""

    @property
    def is_failure(self) -> bool: ...


@dataclass(frozen=True)
class Subscriptions:
    """waiting: topics without an answer, by the token of their request; refused: the broker's reason, by topic; since_s: monotonic
    time of the last request or answer."""

    waiting: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    since_s: float = 0.0

    def asked(self, token: int, topic: str, now_s: float) -> Subscriptions:
        """One topic was asked for, in a request of its own."""
        return replace(self, waiting={**self.waiting, token: topic}, since_s=now_s)

    def answered(self, token: int, reasons: Sequence[Reason], now_s: float) -> Subscriptions:
        """The broker's answer to one request. It must have one reason; any other number of them grants nothing."""
        if token not in self.waiting:
            return self
        topic = self.waiting[token]
        waiting = {one: asked for one, asked in self.waiting.items() if one != token}
        refused = {one: reason for one, reason in self.refused.items() if one != topic}
        if len(reasons) != 1:
            refused[topic] = f"{len(reasons)} reasons in the answer"
        elif reasons[0].is_failure:
            refused[topic] = str(reasons[0])
        return Subscriptions(waiting, refused, now_s)

    @property
    def complete(self) -> bool:
        """Whether each request was answered."""
        return not self.waiting

    def late(self, now_s: float) -> bool:
        """Whether an answer has been missing for too long."""
        return bool(self.waiting) and now_s - self.since_s > ANSWER_S

    def again(self, now_s: float) -> tuple[str, ...]:
        """Refused topics that are to be asked for now."""
        return tuple(self.refused) if self.complete and now_s - self.since_s > AGAIN_S else ()
