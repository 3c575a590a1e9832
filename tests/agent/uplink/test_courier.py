"""Orders by a real `lykta uplink`: from the ingest to the camera, and the signed answers back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from central.keys.keygen import signer
from privacy.records.jws import sign
from privacy.records.order import ORDER, Order
from tests.support.broker import NODE, SITE, Broker, Centre, until
from tests.support.ingests import OddIngest, in_inbox
from tests.support.stop import Stop

ANSWER = "the.signed.answer"
"""What a neighbour in these tests says to any order."""


def order(centre: Centre, number: int, clip: str) -> str:
    """A hold, as the centre signs it."""
    now = datetime.now(UTC)
    until_ = now + timedelta(days=1)
    made = Order(number, "hold", SITE, NODE, "crime", "K-1", "A. Chief", "B. Clerk", now, until_, (clip,), offence="robbery")
    return sign(made, signer(centre.folder, "command"), ORDER).decode()


def test_orders_reach_the_camera_and_its_answers_the_centre(stop: Stop, broker: Broker, odd: OddIngest) -> None:
    """Polled at the start; the answer is posted under its number, as the camera signed it."""
    camera = stop.neighbour("camera")
    odd.orders[7] = given = order(broker.centre, 7, stop.seal_clip(500, "routine"))
    stop.start()
    until(lambda: odd.answers == [(7, ANSWER)], "the answer is there", 40)
    assert camera.orders == [given]


def test_an_export_that_comes_with_an_answer_makes_its_clip_leave(stop: Stop, broker: Broker, odd: OddIngest) -> None:
    camera = stop.neighbour("camera")
    wanted, pressed = stop.seal_clip(500, "routine"), stop.seal_clip(500)
    stop.start()
    until(lambda: camera.receipts == [pressed], "help is up, the other is not wanted", 40)
    odd.orders[8] = order(broker.centre, 8, wanted)
    # What the camera does when it obeys; the uplink looks beside clips when an order was carried, else once a minute.
    (stop.layout.spool / wanted / "export.jws").write_text(odd.orders[8])
    pressed_again = stop.seal_clip(500)
    until(lambda: camera.receipts == [pressed, pressed_again, wanted], "all are up", 40)
    assert odd.answers == [(8, ANSWER)]
    assert odd.polls == 1


def test_an_unanswered_order_lies_in_the_inbox_and_is_not_handed_over_in_a_loop(stop: Stop, broker: Broker, odd: OddIngest) -> None:
    odd.orders[9] = order(broker.centre, 9, stop.seal_clip(500, "routine"))
    stop.start()
    path = stop.layout.inbox / "orders/00000009.jws"
    until(path.exists, "it is in the inbox", 40)
    path.unlink()
    clips = [stop.seal_clip(500), stop.seal_clip(500)]
    until(lambda: all(in_inbox(stop, clip).exists() for clip in clips), "answers came that had the order", 40)
    assert not path.exists()
    assert odd.answers == []
    assert stop.end() == 0
    stop.start()
    until(path.exists, "the next poll hands it over again", 40)


def test_what_is_no_order_is_told_once_and_keeps_none_waiting(stop: Stop, broker: Broker, odd: OddIngest) -> None:
    """Each answer of the ingest brings it again."""
    camera = stop.neighbour("camera")
    odd.orders = {1: "rubbish", 2: order(broker.centre, 2, stop.seal_clip(500, "routine"))}
    stop.start()
    until(lambda: odd.answers == [(2, ANSWER)], "the good one is answered", 40)
    clips = [stop.seal_clip(500) for _ in range(3)]
    until(lambda: camera.receipts == clips, "more answers came", 40)
    assert stop.log.read_text().count("not a signed record") == 1


def test_an_answer_that_is_refused_is_not_offered_in_a_loop(stop: Stop, broker: Broker, odd: OddIngest) -> None:
    odd.refuses_answers = True
    camera = stop.neighbour("camera")
    odd.orders[3] = order(broker.centre, 3, stop.seal_clip(500, "routine"))
    stop.start()
    clips = [stop.seal_clip(500) for _ in range(3)]
    until(lambda: camera.receipts == clips, "clips are up all the same", 40)
    assert len(camera.orders) == 1
    assert len(odd.answers) == 1
