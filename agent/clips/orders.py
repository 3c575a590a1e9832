"""Execution of orders: verified here, executed once, answered with a signed record, journalled (R29, R31, R33b).

The answer is stored by number: the same order gets the same answer again, another order with a used number is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from agent.clips.keeper import Keeper
from agent.clips.order_check import OrderVerifier, answers
from agent.messages import OrderAnswer
from drivers.clock import SystemClock
from privacy.errors import RecordError
from privacy.files import locked, make_folder, on_disk, place, read, sync_folder
from privacy.foreign import decode
from privacy.records.jws import peek, sign, token_id
from privacy.records.manifest import ClipId
from privacy.records.order import ANSWER, Answer, Order, answers_to, concerns, verify_order
from privacy.records.retention import Kept
from provisioning.identity import revocations
from provisioning.layout import Layout

MOST = 1000
"""Most clips that an answer names; `lykta journal` names the others."""


class Orders:
    """The orders of one node, over the clips of its keeper.

    revoked   called with the id of a record that is no longer in force
    """

    def __init__(
        self, layout: Layout, me: OrderVerifier, keeper: Keeper, clock: SystemClock, revoked: Callable[[str], None]
    ) -> None:
        self._layout, self._me, self._keeper, self._clock, self._revoked = layout, me, keeper, clock, revoked

    def obey(self, token: bytes) -> bytes:
        """Execute the order: the signed answer. `RecordError` if it is not for this node, or its number was used by another."""
        me = self._me
        order = verify_order(token, me.trusted, me.site, me.node)
        with self._alone():
            return self._obey(order, token.strip())

    def _obey(self, order: Order, token: bytes) -> bytes:
        path = self._path(order, "jws")
        answer = (
            _same(read(path, path.name), order, token) if path.exists() else self._answer(order, token, *self._act(order, token))
        )
        # After the answer, and again with each repetition: a power cut between the two must not leave this step undone.
        if peek(answer, ANSWER, Answer).result == "done":
            self._follow(order, token)
        return answer

    def _act(self, order: Order, token: bytes) -> tuple[tuple[str, ...], str]:
        """Execute the order: ids of the clips concerned, and the reason of a refusal or ""."""
        if self._clock.trusted() and self._clock.now() > order.until:
            return (), "late"
        if order.act in ("revoke", "wipe"):
            return (), ""
        begun = self._begun(order)
        chosen = self._keeper.matching(lambda one, end: one.clip in begun or concerns(order, one.clip, one.begin, end))
        held = tuple(one.clip for one in chosen if one.held is not None)
        if order.act == "erase" and held:
            return held, "held by another order; release it first"
        if order.act == "hold" and chosen:
            chosen = [one for one in chosen if self._keeper.released(one.clip) < order.number]
            if not chosen:
                return (), "released by a later order"
        if not chosen and not (begun and order.act in ("erase", "release")):
            return (), "no such clip here"
        gone = begun if order.act in ("erase", "release") else ()
        ids = tuple(sorted({*gone, *(one.clip for one in chosen)}))
        # Recorded first: after a power cut in the middle, clips that are deleted already still count as erased by this order.
        _place(self._path(order, "begun"), msgspec.json.encode(ids), order)
        self._on_clips(order, token, chosen)
        return ids, ""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One order at a time: a slow order may also arrive through the inbox while it is being executed."""
        with ExitStack() as stack:
            with on_disk("orders", "check the disk and the folder's rights"):
                make_folder(answers(self._layout))
                stack.enter_context(locked(answers(self._layout)))
            yield

    def _begun(self, order: Order) -> tuple[str, ...]:
        path = self._path(order, "begun")
        try:
            return decode(read(path, "begun"), tuple[ClipId, ...], "begun")
        except FileNotFoundError:
            return ()
        except RecordError as problem:
            # Clips erased by then are in the journal; the remaining ones are selected by the order again.
            path.replace(path.with_suffix(".damaged"))
            self._keeper.telling.note("order_begun_damaged", file=path.name, reason=str(problem))
            return ()

    def _path(self, order: Order, kind: Literal["jws", "begun"]) -> Path:
        return answers(self._layout) / f"{order.number:08}.{kind}"

    def _follow(self, order: Order, token: bytes) -> None:
        """Effects beyond clips: a revoked record is noted; a wipe order is placed in a file for root, which executes it."""
        if order.act == "revoke":
            _place(revocations(self._layout) / f"{order.number:08}.jws", token, order)
            self._revoked(order.record)
        elif order.act == "wipe":
            _place(self._layout.wipe, token, order)

    def _on_clips(self, order: Order, token: bytes, chosen: list[Kept]) -> None:
        with on_disk(f"order {order.number}", "free space or check the disk; it is obeyed then"):
            for one in chosen:
                match order.act:
                    case "hold":
                        self._keeper.hold(one.clip, token)
                    case "release":
                        self._keeper.release(one.clip, token)
                    case "export":
                        self._keeper.export(one.clip, token)
                    case _:
                        self._keeper.erase(one, f"order {order.number}")

    def _answer(self, order: Order, token: bytes, clips: tuple[str, ...], refusal: str) -> bytes:
        me, named = self._me, clips[:MOST]
        result: Literal["done", "refused"] = "refused" if refusal else "done"
        answer = Answer(
            order.number, order.act, me.site, me.node, me.unit, token_id(token), result, refusal, named, self._clock.now()
        )
        signed = sign(answer, me.signer, ANSWER)
        _place(self._path(order, "jws"), signed, order)
        with suppress(OSError):  # not needed once the answer exists
            self._path(order, "begun").unlink(missing_ok=True)
            sync_folder(answers(self._layout))
        people = {"decided": order.decided, "performed": order.performed, "case": order.case, "ground": order.ground}
        self._keeper.telling.note(
            "order", number=order.number, act=order.act, result=result, reason=refusal, clips=len(clips), **people
        )
        self._keeper.telling.say(OrderAnswer(order.number, order.act, result, refusal, signed.decode()))
        return signed


def _place(path: Path, token: bytes, order: Order) -> None:
    with on_disk(f"order {order.number}: {path}"):
        make_folder(path.parent)
        place(path, token)


def _same(stored: bytes, order: Order, token: bytes) -> bytes:
    if not answers_to(peek(stored, ANSWER, Answer), token):
        raise RecordError(f"order: number: {order.number} was used by another order", "number it anew")
    return stored
