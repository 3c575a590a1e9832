"""Orders and heads of journals: from a real broker to the services of the node, and from the node to the centre."""

from __future__ import annotations

import stat

import pytest

from agent.messages import Heads, Help
from central.fleet.broker_connection import operator_session
from privacy.errors import RecordError
from privacy.records.chains import check_head, cross_check, verify_chain
from privacy.records.journal import HEADS, Head, Journal, head_of, last_line, read_segment, segments
from provisioning.identity import load_authority, load_signer
from tests.support.broker import Broker, until
from tests.support.stop import Stop

ORDER = "eyJvcmRlciI.eyJudW1iZXIi.c2ln"


def retain(broker: Broker, topic: str, payload: str) -> None:
    """As the centre publishes an order: it stands until it is taken back."""
    assert "Not authorized" not in broker.publish(topic, payload, retain=True)


def subscribed(stop: Stop, broker: Broker) -> None:
    until(lambda: f"{stop.here}/order/#" in broker.log.read_text(), "the uplink has subscribed")


def test_a_retained_order_reaches_the_camera_unchanged(stop: Stop, broker: Broker) -> None:
    """Item 6: given before the node was there and while it is; what is no order, or was taken back, reaches nobody."""
    camera = stop.neighbour("camera")
    retain(broker, f"{stop.here}/order/7", ORDER)
    retain(broker, f"{stop.here}/order/9", ORDER)
    retain(broker, f"{stop.here}/order/9", "")
    stop.start()
    until(lambda: camera.orders == [ORDER], "the retained order has come")
    retain(broker, f"{stop.here}/order/eight", ORDER)
    retain(broker, f"{stop.here}/order/8", f"{ORDER}8")
    until(lambda: camera.orders == [ORDER, f"{ORDER}8"], "the new order has come")
    until(lambda: stop.detail("ignored_commands") == 1, "the one without a number is counted")


def test_a_retained_order_is_handed_over_once_in_spite_of_a_bad_link(stop: Stop, broker: Broker) -> None:
    """It comes with every connection; each time into the inbox would be a write to the card."""
    camera = stop.neighbour("camera")
    retain(broker, f"{stop.here}/order/7", ORDER)
    stop.start()
    until(lambda: camera.orders == [ORDER], "the order has come")
    broker.stop()
    until(lambda: not stop.detail("connected"), "the link is gone")
    broker.start()
    until(lambda: stop.detail("connected"), "the link is back")
    retain(broker, f"{stop.here}/order/8", f"{ORDER}8")
    until(lambda: f"{ORDER}8" in camera.orders, "the next order has come")
    assert camera.orders == [ORDER, f"{ORDER}8"]


def test_an_order_waits_in_the_inbox_for_a_camera_that_is_away(stop: Stop, broker: Broker) -> None:
    """Item 6: obeyed once at next contact, also if the broker is gone by then; nothing is verified on the way."""
    retain(broker, f"{stop.here}/order/7", ORDER)
    stop.start()
    path = stop.layout.inbox / "orders" / "00000007.jws"
    until(path.exists, "the order lies in the inbox")
    assert path.read_text() == ORDER
    assert stat.S_ISREG(path.stat().st_mode)


def test_a_camera_that_takes_its_time_holds_up_nobody_else(stop: Stop, broker: Broker) -> None:
    """R31, promise 5: a wipe that takes seconds delays neither an acknowledgement of a press nor a message."""
    camera, io = stop.neighbour("camera"), stop.neighbour("io")
    camera.at_ease.clear()
    try:
        with broker.ear(f"{stop.here}/event/help") as heard:
            stop.start()
            subscribed(stop, broker)
            # Over one connection: a process for each takes so long on a busy machine that the uplink gives the first order up.
            with operator_session(broker.centre.folder, f"127.0.0.1:{broker.operators}") as ops:
                for number in range(1, 5):
                    ops.publish(f"{stop.here}/order/{number}", ORDER.encode(), retain=True)
                ops.publish(f"{stop.here}/cmd/ack", b"eyJh.eyJi.c2ln")
            stop.outbox().put(Help("press-1", "pressed"))
            until(lambda: io.commands, "the command has come")
            until(lambda: len(heard()) == 1, "the message is heard")
            # Both came while the first order was still being obeyed: none was given up and left in the inbox.
            assert camera.orders == []
            assert not list(stop.layout.inbox.glob("orders/*"))
    finally:
        camera.at_ease.set()


def test_heads_are_signed_published_and_told_to_the_others(stop: Stop, broker: Broker) -> None:
    """R32: a camera's chain that is cut afterwards disagrees with the uplink's, with the centre's and with io's."""
    camera, io = stop.neighbour("camera"), stop.neighbour("io")
    authority = load_authority(stop.layout)
    journal = Journal(stop.layout.journal("camera"), "camera", load_signer(stop.layout, "camera"), stop.now)
    for _ in range(3):
        journal.append("capture_on")
    with broker.ear(f"{stop.here}/journal") as heard:
        stop.start()
        until(heard, "the heads are heard")
        [published] = [message.body for message in stop.messages(heard(), "journal")]
        assert heard()[0].retain is False  # retained shows to who comes later
    with broker.ear(f"{stop.here}/journal") as later:
        until(lambda: later() and later()[0].retain, "they stand")
    assert isinstance(published, Heads)
    assert set(published.heads) == {"camera", "uplink"}
    until(lambda: camera.heads and io.heads, "both have heard")
    mine = verify_chain(stop.layout.journal("uplink"), "uplink", authority)
    noted = [entry.facts for entry in mine.entries if entry.kind == HEADS]
    assert noted[0] == {"camera": last_line(stop.layout.journal("camera"))}
    # The uplink's own chain goes on: an entry for each change of the node's state.
    [line] = {witness.heads[0]["uplink"] for witness in (camera, io)}
    assert line.encode() in [one for path in segments(stop.layout.journal("uplink")) for one in read_segment(path).splitlines()]
    assert (io.heads[0]["camera"], camera.heads[0].keys()) == (str(journal.head), {"uplink"})
    assert published.heads["camera"].length == 3
    [segment] = stop.layout.journal("camera").glob("*.jws")
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:2]))
    cut = verify_chain(stop.layout.journal("camera"), "camera", authority)
    assert head_of(stop.layout.journal("camera")).length == 2
    for seen in (Head(3, published.heads["camera"].sha256), Head.parse(io.heads[0]["camera"])):
        with pytest.raises(RecordError, match="ends after 2 entries"):
            check_head(cut, seen, "witness")
    with pytest.raises(RecordError, match="ends after 2 entries, uplink entry"):
        cross_check({"camera": cut, "uplink": mine}, authority)


def test_witnesses_that_are_away_are_no_trouble(stop: Stop, broker: Broker) -> None:
    with broker.ear(f"{stop.here}/journal") as heard:
        stop.start()
        until(heard, "the heads are heard")
        until(lambda: stop.detail("connected"), "the uplink goes on")
