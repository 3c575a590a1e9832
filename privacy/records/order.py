"""Orders: decisions of the centre about clips, records or the node; numbered, and carried out once (R29, R31, R33, R33b).

An order reaches the node as a retained MQTT message, in the answer to an upload, or as a file. The unit that carries it out
verifies it and answers with a signed record of the result.
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
"""Reason codes; for disclosure they follow chapter 32 § 3 of the Secrecy Act. `controller`: the controller's own decision, without
disclosure."""
Number = Annotated[int, Meta(ge=1, le=99_999_999)]
Words = Annotated[str, Meta(min_length=1, max_length=200)]


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """One decision and the people responsible for it.

    number         rises for each node and is never used again
    clips          ids; or `since` and `to`: all clips that were filmed in that span of time
    record         revoke only: id of the basis or the view that is no longer in force
    until          hold: when it ends; any other act: the latest time to carry it out
    ground         reason code; for `crime` also `offence`, which must be punishable by imprisonment
    case           reference number of the case
    decided, performed   names of the two people who decided on the order and issued it
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
    """The result of an order, signed by the unit that carried it out.

    unit           only these two units can access the clips, so no other key may answer (decision 0039)
    order_sha256   the order's `token_id`
    clips          the clips that the order concerned
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
    """The order, if a trusted key signed it for this node; otherwise `RecordError`. Whether it is still valid is not checked."""
    order = verify_listed(token, ORDER, trusted, Order)
    if (order.site, order.node) != (site, node):
        raise RecordError(f"order: node: is for {order.site}/{order.node}, this node is {site}/{node}", "send it there")
    return order


def answers_to(answer: Answer, order: bytes) -> bool:
    """Whether an answer is to this signed order: by its `token_id`, or (from older nodes) by the hash of the whole token."""
    return answer.order_sha256 in (token_id(order), sha256_hex(order.strip()))


def concerns(order: Order, clip: str, begin: datetime, end: datetime) -> bool:
    """Whether an order concerns a clip: it lists the clip, or its span of time overlaps the clip's."""
    if clip in order.clips:
        return True
    return order.since is not None and order.to is not None and begin <= order.to and order.since <= end


def read_answer(token: bytes, authority: Authority) -> Answer:
    """The answer, if the unit and node named in it signed it; otherwise `RecordError`."""
    answer, signer = verify_issued(token, ANSWER, authority, lambda answer: answer.unit, Answer, lambda answer: answer.t)
    if signer.name != f"{answer.site}/{answer.node}":
        raise RecordError(
            f"answer: node: signed by {signer.name} for {answer.site}/{answer.node}", "the answer is from another node"
        )
    return answer
