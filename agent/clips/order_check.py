"""Which orders are valid for this node: new ones by the keys trusted now, those obeyed before by the answer signed then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from privacy.errors import RecordError
from privacy.files import read
from privacy.records.jws import Authority, Signer, TrustedKeys, peek
from privacy.records.order import ORDER, Order, answers_to, read_answer, verify_order
from provisioning.layout import Layout

Unit = Literal["camera", "retention"]


@dataclass(frozen=True)
class OrderVerifier:
    """What orders are verified against, and signed answers are made with: the unit's key, trusted keys, site and node."""

    unit: Unit
    signer: Signer
    trusted: TrustedKeys
    site: str
    node: str


class OrderCheck:
    """Whether an order in a clip's folder is valid.

    obeyed     folder of the signed answers: an order executed under a key that was retired later stays valid
    """

    def __init__(self, me: OrderVerifier, obeyed: Path, authority: Authority) -> None:
        self._me, self._obeyed, self._authority = me, obeyed, authority

    def order_of(self, token: bytes) -> Order:
        """The order inside this token; `RecordError` if it is not valid."""
        try:
            return verify_order(token, self._me.trusted, self._me.site, self._me.node)
        except RecordError:
            order = peek(token, ORDER, Order)
            path = self._obeyed / f"{order.number:08}.jws"
            if not path.exists() or not self._was_done(read(path, path.name), token):
                raise
            return order

    def _was_done(self, answer: bytes, token: bytes) -> bool:
        said = read_answer(answer, self._authority)
        return answers_to(said, token) and said.result == "done"


def answers(layout: Layout) -> Path:
    return layout.camera / "orders"
