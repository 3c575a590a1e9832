"""A broker that leaves a request without an answer (14.E17): it costs no other message, and each number is heard or told."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from agent.messages import Help, Message, decode
from drivers.mqtt.client import Credentials
from drivers.mqtt.session import session
from privacy.errors import UnreachableError
from tests.support.broker import NAME, Broker, until
from tests.support.fake_broker import PUBLISH, SUBSCRIBE, FakeBroker, Packet, Talk
from tests.support.stop import Stop


def standing(stop: Stop) -> tuple[str, str]:
    said = (stop.status() or {}).get("standing", {})
    return said.get("state", ""), said.get("reason", "")


def bodies(heard: list[Packet]) -> list[Message]:
    begin = b'{"envelope"'
    return [decode(one.body[one.body.index(begin) :]) for one in list(heard) if one.kind == PUBLISH and begin in one.body]


def presses(heard: list[Packet]) -> list[str]:
    return [one.body.press for one in bodies(heard) if isinstance(one.body, Help)]


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
