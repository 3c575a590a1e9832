"""A broker that leaves a request without an answer (14.E17): it costs no other message, and each number is heard or told.

The uplink waits 60 s for an acknowledgement; here its publisher runs with a limit that a test can wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from agent.messages import Alarm, Body, Health, Help, Message, Tombstone, decode
from agent.outbox.outbox import Outbox
from drivers.mqtt.client import Credentials
from drivers.mqtt.session import session
from privacy.errors import UnreachableError
from tests.support.broker import NAME, Broker, until
from tests.support.fake_broker import PUBLISH, SUBSCRIBE, FakeBroker, Packet, Talk
from tests.support.sender import sending
from tests.support.stop import Stop

LIMIT_S = 1.0
Script = Callable[[Talk], None]


def standing(stop: Stop) -> tuple[str, str]:
    said = (stop.status() or {}).get("standing", {})
    return said.get("state", ""), said.get("reason", "")


def never_for(mute: Callable[[Packet], bool]) -> Script:
    """It acknowledges all but some messages."""

    def script(talk: Talk) -> None:
        talk.let_in()
        while True:
            got = talk.packet()
            talk.heard.append(got)
            if got.kind != PUBLISH or not mute(got):
                talk.answer(got)

    return script


def bodies(heard: list[Packet]) -> list[Message]:
    begin = b'{"envelope"'
    return [decode(one.body[one.body.index(begin) :]) for one in list(heard) if one.kind == PUBLISH and begin in one.body]


def told(heard: list[Packet], cause: str) -> set[int]:
    """Numbers that tombstones named."""
    ranges = [
        span for one in bodies(heard) if isinstance(one.body, Tombstone) and one.body.cause == cause for span in one.body.ranges
    ]
    return {number for first, last in ranges for number in range(first, last + 1)}


def presses(heard: list[Packet]) -> list[str]:
    return [one.body.press for one in bodies(heard) if isinstance(one.body, Help)]


@contextmanager
def stream(outbox: Outbox, make: Callable[[int], Body], pause_s: float = 0.2) -> Iterator[None]:
    """One message after another, as a node has them."""
    done = threading.Event()

    def speak() -> None:
        number = 0
        while not done.wait(pause_s):
            outbox.put(make(number))
            outbox.tell_gone()
            number += 1

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()


def health(number: int) -> Health:
    return Health("system", {"number": number}, {})


@pytest.fixture
def outbox(stop: Stop) -> Iterator[Outbox]:
    outbox = stop.outbox()
    yield outbox
    outbox.close()


def test_one_message_that_is_never_acknowledged_is_told_and_holds_up_no_other(stop: Stop, broker: Broker, outbox: Outbox) -> None:
    outbox.put(Help("poison", "pressed"))
    with FakeBroker(broker.centre, never_for(lambda got: b"poison" in got.body)) as fake:
        with sending(stop, outbox, fake.port, LIMIT_S) as publisher, stream(outbox, health):
            until(lambda: publisher.unanswered == 1, "the state can say so")
            outbox.put(Help("press-1", "pressed"))
            until(lambda: "press-1" in presses(fake.heard), "others pass meanwhile")
            assert publisher.set_aside == 0
            until(lambda: told(fake.heard, "set_aside") == {1}, "its number is told")
            assert (publisher.set_aside, publisher.unanswered) == (1, 0)
            connections = len(fake.begun_s)
            before = len(fake.heard)
            until(lambda: len(fake.heard) > before + 10 * LIMIT_S / 0.2, "the link stands")
            assert len(fake.begun_s) == connections
        assert presses(fake.heard).count("poison") == 2, "it was sent on two connections"


def test_topics_that_are_never_acknowledged_leave_room_for_help(stop: Stop, broker: Broker, outbox: Outbox) -> None:
    """More messages without an answer than fit into the window."""
    outbox.put(*[health(number) for number in range(25)])
    with FakeBroker(broker.centre, never_for(lambda got: "/health/" in got.topic)) as fake:
        with sending(stop, outbox, fake.port, LIMIT_S) as publisher, stream(outbox, lambda n: Help(f"press-{n}", "pressed")):
            until(lambda: publisher.set_aside >= 10, "some are set aside", 60)
            heard = len(set(presses(fake.heard)))
            until(lambda: len(set(presses(fake.heard))) > heard + 5, "help passes")
            until(lambda: told(fake.heard, "set_aside") >= set(range(1, 26)), "every number is told", 120)
        assert not told(fake.heard, "set_aside") - set(range(1, 26)), "and none of another message"


def test_a_message_after_which_the_broker_answers_nothing_is_found(stop: Stop, broker: Broker, outbox: Outbox) -> None:
    outbox.put(Help("poison", "pressed"))

    def wedged(talk: Talk) -> None:
        talk.let_in()
        while b"poison" not in (got := talk.packet()).body:
            talk.heard.append(got)
            talk.answer(got)
        while True:
            talk.packet()

    with (
        FakeBroker(broker.centre, wedged) as fake,
        sending(stop, outbox, fake.port, LIMIT_S) as publisher,
        stream(outbox, health),
    ):
        until(lambda: publisher.set_aside == 1, "it is set aside", 90)
        until(lambda: told(fake.heard, "set_aside") == {1}, "and told", 60)


def test_a_broker_that_is_silent_for_a_while_costs_no_message(stop: Stop, broker: Broker, outbox: Outbox) -> None:
    def silent(talk: Talk) -> None:
        if talk.number > 3:
            talk.serve()
        talk.let_in()
        while True:
            talk.packet()

    outbox.put(*[Help(f"press-{number}", "pressed") for number in range(25)])
    with FakeBroker(broker.centre, silent) as fake, sending(stop, outbox, fake.port, LIMIT_S) as publisher:
        until(lambda: publisher.unanswered, "the state can say so")
        until(lambda: outbox.pending() == 0, "all is acknowledged", 60)
        assert set(presses(fake.heard)) == {f"press-{number}" for number in range(25)}
        assert (publisher.set_aside, publisher.unanswered) == (0, 0)


def test_an_old_alarm_that_is_sent_again_does_not_stand_after_its_end(stop: Stop, broker: Broker, outbox: Outbox) -> None:
    """The end was acknowledged, the alarm was not: at a broker that retains both the alarm would stand for ever."""
    outbox.put(Alarm("lens", "covered", ""))
    outbox.clear("alarm/lens")
    with FakeBroker(broker.centre, never_for(lambda got: b"covered" in got.body)) as fake:
        with sending(stop, outbox, fake.port, LIMIT_S), stream(outbox, health):
            until(lambda: fake.topics().count("alarm/lens") == 3, "the alarm was sent again")
        sent = [(b"covered" in one.body, one.retain) for one in fake.heard if one.kind == PUBLISH and "/alarm/" in one.topic]
        assert sent == [(True, True), (False, True), (True, False)]


# -- subscriptions -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_subscriptions_without_an_answer_are_the_state(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """A node that hears no command is not ready; its own messages leave all the same."""

    def deaf(talk: Talk) -> None:
        talk.let_in()
        while True:
            got = talk.packet()
            talk.heard.append(got)
            if got.kind != SUBSCRIBE or b"cmd/#" not in got.body:
                talk.answer(got)

    stop.outbox().put(Help("press-1", "pressed"))
    fake = meet(deaf)
    until(lambda: standing(stop) == ("starting", "subscribing"), "it is not ready yet")
    until(lambda: "press-1" in presses(fake.heard), "help leaves")
    until(lambda: standing(stop) == ("degraded", "no_suback"), "the state says why", 60)
    until(lambda: len(fake.begun_s) >= 2, "another connection is made", 60)
    assert f"{stop.here}/cmd/#" in stop.log.read_text(), "the topic is named"
    assert "ready" not in stop.log.read_text()


@pytest.mark.slow
def test_a_refused_subscription_is_named_and_asked_for_again(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    mended = threading.Event()

    def picky(talk: Talk) -> None:
        talk.let_in()
        while True:
            got = talk.packet()
            talk.heard.append(got)
            if got.kind == SUBSCRIBE and b"order/#" in got.body and not mended.is_set():
                talk.refuse(got, 0x87)
            else:
                talk.answer(got)

    fake = meet(picky)
    until(lambda: standing(stop) == ("degraded", "subscription_refused"), "the state says why")
    until(lambda: stop.detail("topics_refused") == "order/#", "the status names the topic")
    assert f"{stop.here}/order/#: Not authorized" in stop.log.read_text()
    mended.set()
    until(lambda: standing(stop) == ("ready", "connected"), "it was asked for again", 120)
    assert len(fake.begun_s) == 1


def test_a_session_of_the_centre_names_a_refused_subscription(broker: Broker) -> None:
    """Else it would wait for an answer that cannot come."""
    certificate = broker.centre.issue(NAME, "tls")

    def refuse(talk: Talk) -> None:
        talk.let_in()
        while True:
            got = talk.packet()
            talk.refuse(got, 0x87) if got.kind == SUBSCRIBE else talk.answer(got)

    credentials = Credentials(broker.centre.ca, certificate, certificate.with_suffix(".key"))
    with (
        FakeBroker(broker.centre, refuse) as fake,
        pytest.raises(UnreachableError, match="refuses subscriptions: a/rsp/#"),
        session(NAME, credentials, ("127.0.0.1", fake.port), ("a/rsp/#",)),
    ):
        pass
