"""What the broker says is heard (14.E17): each refusal and limit shows in the state, and none costs a message or a core."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from agent.messages import Alarm, Describe, Help, Tombstone
from tests.support.broker import NAME, Broker, Published, until
from tests.support.fake_broker import PUBLISH, SUBSCRIBE, FakeBroker, Talk, text_property
from tests.support.stop import Stop

STANDS = {"state", "describe", "journal", "alarm/lens"}
REFERENCE = text_property(0x1C, "broker-of-somebody.example")


def standing(stop: Stop) -> tuple[str, str]:
    said = (stop.status() or {}).get("standing", {})
    return said.get("state", ""), said.get("reason", "")


@pytest.mark.parametrize(
    ("code", "properties", "cause"),
    [
        (0x80, b"", "broker_refuses"),
        (0x81, b"", "broker_finds_packet_malformed"),
        (0x84, b"", "broker_version"),
        (0x85, b"", "client_id_refused"),
        (0x86, b"", "not_authorized"),
        (0x87, b"", "not_authorized"),
        (0x88, b"", "broker_unavailable"),
        (0x89, b"", "broker_busy"),
        (0x8A, b"", "banned"),
        (0x90, b"", "topic_refused"),
        (0x95, b"", "message_too_large"),
        (0x97, b"", "quota_exceeded"),
        (0x99, b"", "payload_refused"),
        (0x9A, b"", "retain_unavailable"),
        (0x9B, b"", "qos_unavailable"),
        (0x9C, REFERENCE, "use_another_server"),
        (0x9D, REFERENCE, "use_another_server"),
        (0x9F, b"", "connection_rate"),
    ],
)
def test_a_refusal_is_the_state(meet: Callable[..., FakeBroker], stop: Stop, code: int, properties: bytes, cause: str) -> None:
    def refuse(talk: Talk) -> None:
        talk.packet()
        talk.connack(code, properties)
        with suppress(EOFError):
            talk.packet()

    meet(refuse)
    until(lambda: standing(stop) == ("degraded", cause), f"the state says {cause}: {stop.log.read_text()}")
    assert ("broker-of-somebody.example" in stop.log.read_text()) == bool(properties), "told, never followed"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (lambda talk: talk.send(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>" + b"x" * 4000), "not_mqtt"),
        (lambda talk: talk.send(b"\x20\xff\xff\xff\xff\xff"), "not_mqtt"),
        (lambda talk: talk.send(b"\x20\xff\xff\xff\x7f"), "packet_too_large"),
        (lambda talk: talk.send(b"\x20\x06\x00\x00\x03\x99\x00\x00"), "broker_garbled"),
        # A message with QoS 2 after a good answer: paho would keep any number of them.
        (lambda talk: talk.send(b"\x20\x03\x00\x00\x00\x34\x07\x00\x01a\x00\x01\x00b"), "broker_garbled"),
        (lambda _talk: None, "broker_hung_up"),
    ],
)
def test_what_is_no_broker_is_the_state(
    meet: Callable[..., FakeBroker], stop: Stop, answer: Callable[[Talk], None], cause: str
) -> None:
    def odd(talk: Talk) -> None:
        talk.packet()
        answer(talk)
        if cause != "broker_hung_up":
            with suppress(EOFError):
                talk.packet()

    meet(odd)
    until(lambda: standing(stop) == ("degraded", cause), f"the state says {cause}: {standing(stop)} {stop.log.read_text()}")


def test_a_port_without_tls_costs_no_key(stop: Stop, broker: Broker) -> None:
    """`certificate_refused` would have `lykta renew` go back to the key before: only an alert about a certificate says it."""
    broker.stop()
    with socket.create_server(("127.0.0.1", broker.port)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    line, _ = server.accept()
                    line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>this is not the port you want</html>")
                    line.close()

        threading.Thread(target=answer, daemon=True).start()
        stop.start()
        until(lambda: standing(stop) == ("degraded", "broker_not_tls"), f"the state says so: {standing(stop)}")


def test_a_broker_that_hangs_up_is_asked_more_and_more_slowly(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """A CONNACK is no link that has held: the pause goes on growing, and the cause stays in the state while it stands."""
    fake = meet(lambda talk: talk.let_in() if talk.number < 5 else talk.serve())
    until(lambda: standing(stop) == ("degraded", "broker_hung_up"), "the state says why")
    until(lambda: len(fake.begun_s) == 5, "five connections were made", 60)
    pauses = [later - before for before, later in zip(fake.begun_s, fake.begun_s[1:], strict=False)]
    assert pauses[3] > pauses[0]
    until(lambda: stop.detail("connected"), "the link is back")
    assert standing(stop) == ("degraded", "broker_hung_up")
    until(lambda: standing(stop) == ("ready", "connected"), "it has held", 60)


def test_receive_maximum_is_kept(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """Of a broker that takes one message at a time no second one is on its way."""
    crowded: list[str] = []

    def one_by_one(talk: Talk) -> None:
        talk.let_in(b"\x21\x00\x01")
        waiting = None
        talk._line.settimeout(0.05)
        while True:
            try:
                got = talk.packet()
            except TimeoutError:
                if waiting:
                    talk.answer(waiting)
                waiting = None
                continue
            talk.heard.append(got)
            if got.kind != PUBLISH:
                talk.answer(got)
            elif waiting:
                crowded.append(got.topic)
            else:
                waiting = got

    stop.outbox().put(*[Help(f"press-{number}", "pressed") for number in range(8)])
    fake = meet(one_by_one)
    until(lambda: fake.topics().count("event/help") == 8, "all were sent", 40)
    assert crowded == []


def test_a_message_that_the_broker_has_no_room_for_stays_and_is_told(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """Maximum Packet Size: it is neither sent, which would break the link, nor lost; the others pass."""
    outbox = stop.outbox()
    outbox.put(Alarm("lens", "x" * 4000, ""), Help("press-1", "pressed"))
    fake = meet(lambda talk: talk.serve(b"\x27\x00\x00\x08\x00"))
    until(lambda: "event/help" in fake.topics(), "the small one is sent")
    until(lambda: standing(stop) == ("degraded", "message_too_large"), "the state says why")
    until(lambda: outbox.pending() == 1, "the large one waits")
    assert "alarm/lens" not in fake.topics()
    assert len(fake.begun_s) == 1, "the link stood"


def test_a_broker_that_does_not_retain_is_given_nothing_to_retain(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    def strict(talk: Talk) -> None:
        talk.let_in(b"\x25\x00")
        while True:
            got = talk.packet()
            if got.kind == PUBLISH and got.retain:
                talk.disconnect(0x9A)
                return
            talk.heard.append(got)
            talk.answer(got)

    stop.outbox().put(Alarm("lens", "covered", ""))
    fake = meet(strict)
    until(lambda: {"alarm/lens", "state"} <= set(fake.topics()), "they are sent all the same")
    until(lambda: standing(stop) == ("degraded", "retain_unavailable"), "the state says what is missing")
    assert len(fake.begun_s) == 1


def test_a_broker_without_acknowledgements_gets_no_message(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    stop.outbox().put(Help("press-1", "pressed"))
    fake = meet(lambda talk: talk.serve(b"\x24\x00"))
    until(lambda: standing(stop) == ("degraded", "qos_unavailable"), "the state says why")
    assert fake.topics() == []
    assert stop.outbox().pending()


def test_a_subscription_that_is_refused_is_the_state(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """A node that is deaf to orders is not well."""

    def deaf(talk: Talk) -> None:
        talk.let_in()
        while True:
            got = talk.packet()
            if got.kind == SUBSCRIBE:
                talk.refuse(got, 0x87)
            else:
                talk.answer(got)

    meet(deaf)
    until(lambda: standing(stop) == ("degraded", "subscription_refused"), "the state says why")


@pytest.mark.parametrize("code", [None, 0x82])
def test_a_message_that_breaks_the_link_is_set_aside_and_told(
    meet: Callable[..., FakeBroker], stop: Stop, code: int | None
) -> None:
    """It goes alone; when others have passed and it breaks the link once more, a tombstone names its number."""
    stop.outbox().put(Help("poison", "pressed"), Help("press-1", "pressed"), Alarm("help", "pressed", "press-1"))

    def breaks(talk: Talk) -> None:
        talk.let_in()
        while True:
            got = talk.packet()
            if b"poison" in got.body:
                if code is not None:
                    talk.disconnect(code)
                return
            talk.heard.append(got)
            talk.answer(got)

    fake = meet(breaks)
    until(lambda: "alarm/help" in fake.topics(), "the others pass", 60)
    until(lambda: stop.detail("set_aside") == 1, "it is set aside and counted", 120)

    def told() -> list[bytes]:
        return [one.body for one in list(fake.heard) if one.kind == PUBLISH and one.topic.endswith("tombstone")]

    until(lambda: any(b'"set_aside"' in body for body in told()), "and told", 120)


def test_a_broker_that_breaks_at_every_message_costs_none(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """It is the broker then, not the messages: none is set aside, and all come when it is well."""
    well = threading.Event()
    stop.outbox().put(Help("press-1", "pressed"), Help("press-2", "pressed"))

    def breaks(talk: Talk) -> None:
        if well.is_set():
            talk.serve()
        talk.let_in()
        while talk.packet().kind != PUBLISH:
            pass

    fake = meet(breaks)
    until(lambda: len(fake.begun_s) >= 5, "it broke five times", 60)
    well.set()
    until(lambda: fake.topics().count("event/help") >= 2, "both come", 90)
    until(lambda: stop.outbox().pending() == 0, "nothing waits", 60)
    assert stop.detail("set_aside") == 0


@pytest.mark.slow
@pytest.mark.parametrize("mute", [b"", b"press-1"], ids=["nothing", "all-but-one"])
def test_a_broker_that_leaves_a_message_without_an_answer_is_left(meet: Callable[..., FakeBroker], stop: Stop, mute: bytes) -> None:
    def silent(talk: Talk) -> None:
        talk.let_in()
        while True:
            got = talk.packet()
            if got.kind != PUBLISH or mute not in got.body:
                talk.answer(got)

    stop.outbox().put(Help("press-1", "pressed"))
    fake = meet(silent)
    until(lambda: standing(stop) == ("degraded", "no_puback"), "the state says why", 90)
    until(lambda: len(fake.begun_s) >= 2, "another connection is made")
    until(lambda: stop.detail("connected"), "it stands")
    assert standing(stop) == ("degraded", "no_puback"), "also while connected"
    assert stop.detail("unanswered") == 1
    assert stop.outbox().pending()


def test_a_session_that_was_taken_over_is_the_state_and_stands_in_describe(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """A second client with this node's name: said as long as they fight, and found by the centre afterwards."""

    def taken_over(talk: Talk) -> None:
        if talk.number > 1:
            talk.serve()
        talk.let_in()
        talk.disconnect(0x8E)

    fake = meet(taken_over)
    until(lambda: standing(stop) == ("degraded", "session_taken_over"), "the state says so")
    until(lambda: "describe" in fake.topics(), "it is described")
    assert standing(stop) == ("degraded", "session_taken_over"), "also while the next link stands"
    said = [one.body for one in list(fake.heard) if one.kind == PUBLISH and one.topic.endswith("/describe")]
    assert b'"session_taken_over":1' in said[0]


def test_a_second_client_at_a_broker_that_says_nothing_is_told(stop: Stop, broker: Broker) -> None:
    """mosquitto 2.0.11 hangs up on the first of two without a word; the session that is gone tells of the second."""
    mine = stop.layout.certificates / "tls.pem"
    words = [*broker.options(mine), "-i", NAME, "-t", "x", "-q", "1"]
    words[words.index("--key") + 1] = str(stop.layout.credentials / "tls.key")

    def told(heard: list[Published]) -> bool:
        bodies = [message.body for message in stop.messages(heard, "describe")]
        return any(isinstance(body, Describe) and body.breaks.get("session_lost") for body in bodies)

    with broker.ear() as heard:
        stop.start()
        until(lambda: stop.detail("connected"), "the uplink is connected")
        thief = subprocess.Popen(["mosquitto_sub", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: standing(stop) == ("degraded", "broker_hung_up"), "the state says so")
            until(lambda: told(heard()), "describe says so", 60)
        finally:
            thief.kill()
            thief.wait()


def test_a_broker_that_lost_its_store_is_told_again_what_stands(stop: Stop, broker: Broker) -> None:
    """Alarms and heads left the outbox long ago; also over a restart of the uplink."""
    stop.outbox().put(Alarm("lens", "covered", ""), Alarm("door", "open", ""))
    stop.start()
    until(lambda: stop.detail("connected") and stop.outbox().pending() == 0, "all was told")
    stop.outbox().clear("alarm/door")
    until(lambda: stop.outbox().pending() == 0, "that too")
    for restart in (False, True):
        if restart:
            assert stop.end() == 0
        broker.stop()
        (broker.folder / "mosquitto.db").unlink()
        broker.start()
        if restart:
            stop.start()
        with broker.ear() as heard:
            until(lambda: {one.tail for one in heard() if one.payload} >= STANDS, "all stands again", 60)
            assert "alarm/door" not in {one.tail for one in heard() if one.payload}


def test_tombstones_know_the_cause() -> None:
    assert Tombstone("e", "set_aside", ((1, 1),)).cause == "set_aside"
