"""Bytes from the broker become a `Taken` message, or a `Refusal` with its cause. The broker, and what it forwards, is foreign."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from agent.messages import LONGEST, PREFIX, Message, decode, encode
from privacy.errors import RecordError
from privacy.foreign import END, printable

Cause = Literal["qos", "topic", "too_long", "not_a_message", "wrong_topic", "number", "empty"]
_ID = re.compile(r"[a-z0-9-]{1,64}" + END)
_EPOCH = re.compile(r"[0-9A-Za-z-]{1,64}" + END)
_MOST_TOPIC = 512
GREATEST_NUMBER = (1 << 53) - 1


@dataclass(frozen=True)
class Taken:
    """One message as it is stored.

    digest    SHA-256 of the message without the mark of lateness
    retained  the broker had stored it before the collector subscribed: it says nothing of what was sent since
    """

    node: str
    tail: str
    message: Message
    payload: bytes
    digest: bytes
    received: int
    retained: bool

    @property
    def key(self) -> tuple[str, str, int]:
        """What names a message: node, epoch and number."""
        return self.node, self.message.envelope.epoch, self.message.envelope.seq


@dataclass(frozen=True)
class Cleared:
    """An empty message: the alarm on this topic is over."""

    node: str
    name: str
    received: int


@dataclass(frozen=True)
class Refusal:
    """A message that is dropped. cause: a stable code, counted; text: for the log."""

    cause: Cause
    text: str


def take(topic: str, payload: bytes, qos: int, received: int, *, retained: bool = False) -> Taken | Cleared | Refusal:
    """Judge one message. received: the centre's time, ms since 1970."""
    if qos == 0:
        return Refusal("qos", f"{printable(topic, 80)}: QoS 0 cannot be kept")
    place = _place(topic)
    if place is None:
        return Refusal("topic", f"{printable(topic, 80)}: not a node's topic")
    node, tail = place
    if not payload:
        head, _, name = tail.partition("/")
        return (
            Cleared(node, name, received) if head == "alarm" and name else Refusal("empty", f"{node}/{printable(tail, 80)}: empty")
        )
    if len(payload) > LONGEST:
        return Refusal("too_long", f"{node}/{printable(tail, 80)}: {len(payload)} bytes")
    try:
        message = decode(payload)
    except RecordError as problem:
        return Refusal("not_a_message", f"{node}/{printable(tail, 80)}: {printable(problem, 160)}")
    if message.body.tail != tail:
        return Refusal("wrong_topic", f"{node}/{printable(tail, 80)}: the message is one of {printable(message.body.tail, 80)}")
    if not is_epoch(message.envelope.epoch) or not 0 < message.envelope.seq <= GREATEST_NUMBER:
        return Refusal("number", f"{node}/{printable(tail, 80)}: epoch or number out of range")
    return Taken(node, tail, message, payload, _digest(message), received, retained)


def ms_of(moment: datetime | None) -> int | None:
    """Milliseconds since 1970."""
    return None if moment is None else round(moment.timestamp() * 1000)


def is_epoch(text: str) -> bool:
    """Whether this can be the name of an outbox's database."""
    return bool(_EPOCH.match(text))


def _place(topic: str) -> tuple[str, str] | None:
    """Node ("site/node") and the rest of a topic; None unless it is lykta/v1/<site>/<node>/… with lower-case ids."""
    if len(topic) > _MOST_TOPIC or not topic.startswith(f"{PREFIX}/"):
        return None
    site, _, rest = topic.removeprefix(f"{PREFIX}/").partition("/")
    node, _, tail = rest.partition("/")
    if not (_ID.match(site) and _ID.match(node) and tail and tail.isprintable()):
        return None
    return f"{site}/{node}", tail


def _digest(message: Message) -> bytes:
    """A message that is sent again may be marked as late; all else must be the same."""
    return hashlib.sha256(
        encode(msgspec.structs.replace(message, envelope=msgspec.structs.replace(message.envelope, hist=False)))
    ).digest()
