"""Orders: what the centre decides about clips, records and the node itself; numbered, and obeyed once (R29, R31, R33, R33b).

An order comes retained over MQTT, in the answer to an upload, or as a file. The unit that obeys verifies it itself and
answers with a signed record of what it did.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.records.basis import Label, Moment
from privacy.records.jws import Authority, TrustedKeys, sha256_hex, token_id, verify_issued, verify_listed
from privacy.records.manifest import ClipId, Sha256

ORDER = "lykta-order"
ANSWER = "lykta-order-answer"
Act = Literal["hold", "release", "export", "erase", "revoke", "wipe"]
Ground = Literal["crime", "accident", "data_subject", "controller"]
"""Codes of the Secrecy Act 32:3 for what leaves the controller; `controller` is its own decision and hands nothing out."""
Number = Annotated[int, Meta(ge=1, le=99_999_999)]
Words = Annotated[str, Meta(min_length=1, max_length=200)]


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """One decision and who answers for it.

    number         counts up for each node and is never used again
    clips          by id; or `since` and `to`, the span of time that was filmed
    record         revoke only: id of the basis or the view that is no longer in force
    until          hold: how long it stands; any other act: the last moment to obey it
    ground, offence, case   why, in codes and the number of the matter; a crime names an offence that can give prison
    decided, performed      two people
    """

    number: Number
    act: Act
    site: Label
    node: Label
    ground: Ground
    case: Words
    decided: Words
    performed: Words
    issued: Moment
    until: Moment
    clips: Annotated[tuple[ClipId, ...], Meta(max_length=1000)] = ()
    since: Moment | None = None
    to: Moment | None = None
    record: str = ""
    offence: str = ""

    def __post_init__(self) -> None:
        if self.decided.strip().lower() == self.performed.strip().lower():
            raise ValueError("decided and performed: must be two people")
        if self.ground == "crime" and not self.offence.strip():
            raise ValueError("offence: a crime is named, and it can give prison")
        if self.act == "export" and self.ground == "controller":
            raise ValueError("ground: an export needs crime, accident or data_subject")
        if self.until <= self.issued:
            raise ValueError("until: must be after issued")
        if (self.since is None) != (self.to is None) or (self.since and self.to and self.to <= self.since):
            raise ValueError("since and to: both, the later one last")
        if (self.act in ("hold", "release", "export", "erase")) != bool(self.clips or self.since):
            raise ValueError(f"clips, or since and to: {self.act} needs {'none' if self.clips or self.since else 'one of them'}")
        if (self.act == "revoke") != bool(self.record):
            raise ValueError("record: for revoke, and only for it")


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """What came of an order, signed by the unit that obeyed. clips: those that it concerned.

    unit           only these two have the clips in hand, so that no other key can answer (decision 0039)
    order_sha256   the order's `token_id`
    """

    number: Number
    act: Act
    site: str
    node: str
    unit: Literal["camera", "retention"]
    order_sha256: Sha256
    result: Literal["done", "refused"]
    reason: Annotated[str, Meta(max_length=1000)]
    clips: Annotated[tuple[ClipId, ...], Meta(max_length=1000)]
    t: datetime


def verify_order(token: bytes, trusted: TrustedKeys, site: str, node: str) -> Order:
    """The order, if a trusted key signed it for this node; otherwise `RecordError`. Whether it is late is the obeyer's matter."""
    order = verify_listed(token, ORDER, trusted, Order)
    if (order.site, order.node) != (site, node):
        raise RecordError(f"order: node: is for {order.site}/{order.node}, this node is {site}/{node}", "send it there")
    return order


def answers_to(answer: Answer, order: bytes) -> bool:
    """Whether an answer names this signed order: by its `token_id`, or as nodes did before, by the hash of the whole token."""
    return answer.order_sha256 in (token_id(order), sha256_hex(order.strip()))


def touches(order: Order, clip: str, begin: datetime, end: datetime) -> bool:
    """Whether an order is about a clip: it names it, or any moment between its begin and its end."""
    if clip in order.clips:
        return True
    return order.since is not None and order.to is not None and begin <= order.to and order.since <= end


def read_answer(token: bytes, authority: Authority) -> Answer:
    """The answer, if that unit of that node signed it that it names; or `RecordError`."""
    answer, signer = verify_issued(token, ANSWER, authority, lambda answer: answer.unit, Answer, lambda answer: answer.t)
    if signer.name != f"{answer.site}/{answer.node}":
        raise RecordError(f"answer: node: signed by {signer.name} for {answer.site}/{answer.node}", "not that node's answer")
    return answer
