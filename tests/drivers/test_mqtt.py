"""The link to a real mosquitto: mutual TLS, acknowledgement, the session that waits, the will that does not flap."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from drivers.mqtt.client import Client, Credentials, Delivery, Keeping, diagnose
from drivers.mqtt.session import session
from drivers.threads import start
from privacy.errors import UnreachableError
from tests.support.broker import HERE, NAME, Broker, Centre, free_port, until

CHILD = """
import sys, threading
from pathlib import Path
from drivers.mqtt.client import Credentials, Client, Will
port, name, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
def changed(connected, reason):
    print(reason, flush=True)
link = Client(name, Credentials(folder.parent / "ca.pem", folder / "tls.pem", folder / "tls.key"),
            acknowledged=lambda token, refusal: None, changed=changed, received=lambda topic, payload: None,
            will=Will(f"lykta/v1/{name}/state", b"lost"))
threading.Thread(target=link.run, args=("127.0.0.1", port), daemon=True).start()
sys.stdin.readline()
link.close()
"""


class Ends:
    """A link with what it was told written down."""

    def __init__(self, certificate: Path, centre: Centre, *subscribe: str, name: str = NAME) -> None:
        self.acknowledged: list[int] = []
        self.refused: dict[int, str] = {}
        self.changes: list[tuple[bool, str]] = []
        self.received: list[tuple[str, bytes]] = []
        self.link = Client(
            name,
            Credentials(centre.ca, certificate, certificate.with_suffix(".key")),
            acknowledged=self._answered,
            changed=lambda connected, reason: self.changes.append((connected, reason)),
            received=lambda topic, payload: self.received.append((topic, payload)),
            subscribe=subscribe,
        )

    def _answered(self, token: int, refusal: str) -> None:
        if refusal:
            self.refused[token] = refusal
        else:
            self.acknowledged.append(token)

    @property
    def connected(self) -> bool:
        return bool(self.changes) and self.changes[-1][0]

    def open(self, port: int) -> None:
        Thread(target=self.link.run, args=("127.0.0.1", port), daemon=True).start()


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path / "centre")


@pytest.fixture
def broker(tmp_path: Path, centre: Centre) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", centre)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def certificate(centre: Centre) -> Path:
    return centre.issue(NAME, "tls")


@pytest.fixture
def ends(certificate: Path, centre: Centre) -> Iterator[Ends]:
    ends = Ends(certificate, centre, f"{HERE}/cmd/#")
    yield ends
    ends.link.close()


def test_a_message_is_acknowledged_and_heard_with_its_remaining_life(broker: Broker, ends: Ends) -> None:
    with broker.ear() as heard:
        ends.open(broker.port)
        until(lambda: ends.connected, "the link is up")
        tokens = [ends.link.publish(f"{HERE}/event/help", b"1", retain=False, expiry_s=600)]
        tokens.append(ends.link.publish(f"{HERE}/alarm/help", b"2", retain=True))
        until(lambda: ends.acknowledged == tokens, "both are acknowledged, in order")
        until(lambda: len(heard()) == 2, "both are heard")
        event, alarm = heard()
    assert (event.tail, event.payload, alarm.tail, alarm.payload) == ("event/help", "1", "alarm/help", "2")
    assert event.expiry_s in range(300, 601)
    assert alarm.expiry_s is None
    with broker.ear() as later:
        until(lambda: [message.tail for message in later()] == ["alarm/help"], "only the alarm was retained")


def test_commands_reach_the_node_and_other_topics_do_not(broker: Broker, ends: Ends) -> None:
    """The broker's access list, by the certificate's name, keeps a node to its own topics."""
    foreign = broker.centre.issue("city/stop-2", "tls", file="foreign")
    ends.open(broker.port)
    until(lambda: ends.connected, "the link is up")
    until(lambda: f"{HERE}/cmd/#" in broker.log.read_text(), "the link has subscribed")
    assert "Not authorized" in broker.publish(f"{HERE}/cmd/ack", "forged", as_certificate=foreign)
    assert "Not authorized" in broker.publish(f"{HERE}/state", "forged", as_certificate=foreign)
    broker.publish(f"{HERE}/cmd/ack", "from the operator")
    until(lambda: ends.received, "the command has come")
    assert ends.received == [(f"{HERE}/cmd/ack", b"from the operator")]


def test_a_refused_message_is_not_taken_for_acknowledged(broker: Broker, ends: Ends) -> None:
    """Promise 3: MQTT v5 answers a forbidden publish too; it must not free the message."""
    ends.open(broker.port)
    until(lambda: ends.connected, "the link is up")
    token = ends.link.publish("lykta/v1/city/stop-2/event/help", b"1", retain=False)
    until(lambda: ends.refused, "the refusal is told")
    assert ends.refused == {token: "Not authorized"}
    assert ends.acknowledged == []


def test_what_was_not_acknowledged_comes_after_a_restart_of_the_broker(broker: Broker, ends: Ends) -> None:
    """Promise 3: no acknowledgement while the broker is away, and the order is kept when it is back."""
    ends.open(broker.port)
    until(lambda: ends.connected, "the link is up")
    with broker.ear() as heard:
        broker.stop()
        until(lambda: not ends.connected, "the loss is told")
        tokens = [ends.link.publish(f"{HERE}/event/help", str(number).encode(), retain=False) for number in range(15)]
        assert ends.acknowledged == []
        broker.start()
        until(lambda: ends.acknowledged == tokens, "all are acknowledged")
        until(lambda: len(heard()) >= 15, "all are heard")
    assert [message.payload for message in heard()] == [str(number) for number in range(15)]


def test_the_link_waits_for_a_broker_that_comes_later(centre: Centre, tmp_path: Path, ends: Ends) -> None:
    broker = Broker(tmp_path / "later", centre)
    ends.open(broker.port)
    until(lambda: ends.changes, "the failure is told")
    assert not ends.connected
    broker.start()
    until(lambda: ends.connected, "the link is up")
    broker.stop()


@pytest.mark.parametrize("foreign", ["node", "broker"])
def test_a_certificate_of_another_centre_is_refused_with_its_reason(
    foreign: str, broker: Broker, certificate: Path, tmp_path: Path
) -> None:
    """Neither a stranger's node nor a stranger's broker gets a message, and the operator is told which it is."""
    other = Centre(tmp_path / "other")
    mine, trusted, reason = (
        (other.issue(NAME, "tls"), broker.centre, "certificate_refused")
        if foreign == "node"
        else (certificate, other, "broker_not_trusted")
    )
    ends = Ends(mine, trusted)
    with broker.ear() as heard:
        ends.open(broker.port)
        until(lambda: ends.changes, "the failure is told")
        ends.link.publish(f"{HERE}/state", b"forged", retain=True)
        assert diagnose("127.0.0.1", broker.port, Credentials(trusted.ca, mine, mine.with_suffix(".key"))) == reason
        until(lambda: len(ends.changes) > 1, "it is tried again")
        assert heard() == []
    assert ends.acknowledged == []
    assert not any(connected for connected, _ in ends.changes)
    ends.link.close()


def test_diagnosis_tells_a_broker_that_is_away_from_one_that_is_well(broker: Broker, certificate: Path) -> None:
    credentials = Credentials(broker.centre.ca, certificate, certificate.with_suffix(".key"))
    assert diagnose("127.0.0.1", free_port(), credentials) == "broker_unreachable"
    assert diagnose("127.0.0.1", broker.port, credentials) == ""


def test_one_message_is_sent_or_its_failure_is_told(broker: Broker, certificate: Path) -> None:
    credentials = Credentials(broker.centre.ca, certificate, certificate.with_suffix(".key"))
    with broker.ear() as heard:
        with session("once", credentials, ("127.0.0.1", broker.port)) as line:
            line.publish(f"{HERE}/event/help", b"1")
            until(lambda: len(heard()) == 1, "it is heard")
            with pytest.raises(UnreachableError, match=r"(?i)not authorized"):
                line.publish("lykta/v1/city/stop-2/event/help", b"2")
        with pytest.raises(UnreachableError), session("once", credentials, ("127.0.0.1", free_port())):
            pass
        assert [message.payload for message in heard()] == ["1"]


def child(broker: Broker, node: str) -> subprocess.Popen[str]:
    """A process with a link and a will, connected when this returns."""
    folder = broker.centre.folder / node
    if not folder.exists():
        broker.centre.issue(f"city/{node}", "tls", folder)
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(broker.port), f"city/{node}", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "connected\n"
    return process


@pytest.mark.slow
def test_only_a_node_that_stays_away_is_reported_lost(broker: Broker) -> None:
    """A killed node's will comes; one that was killed before it but came back, and one that left in order, have none."""
    with broker.ear() as heard:
        back, left = child(broker, "back"), child(broker, "left")
        back.kill()
        left.communicate("\n")
        again, gone = child(broker, "back"), child(broker, "gone")
        gone.kill()
        until(heard, "the will is heard", 90)
        assert [(message.topic, message.payload) for message in heard()] == [("lykta/v1/city/gone/state", "lost")]
        again.communicate("\n")
    for process in (back, gone):
        process.communicate()


def test_one_message_can_stay_for_who_comes_later(broker: Broker, certificate: Path) -> None:
    """Orders wait at the broker for a node that is away; by default nothing stays."""
    credentials = Credentials(broker.centre.ca, certificate, certificate.with_suffix(".key"))
    address = ("127.0.0.1", broker.port)
    with session("once", credentials, address) as line:
        line.publish(f"{HERE}/event/kept", b"1", retain=True)
        line.publish(f"{HERE}/event/gone", b"2")
    with broker.ear() as heard:
        until(heard, "what was kept is heard")
        assert [(message.tail, message.retain) for message in heard()] == [("event/kept", True)]


class Keeper:
    """A client that confirms messages itself."""

    def __init__(self, centre: Centre, broker: Broker, most: int = 10) -> None:
        self.got: list[Delivery] = []
        self.connected: list[bool] = []
        self.failures: list[BaseException] = []
        keys = centre.folder
        self.link = Client(
            "keeper",
            Credentials(centre.ca, keys / "ops.pem", keys / "ops.key"),
            acknowledged=lambda token, refusal: None,
            changed=lambda connected, cause: self.connected.append(connected),
            received=lambda topic, payload: None,
            subscribe=(f"{HERE}/event/+",),
            keeping=Keeping(self.got.append, most, 3600),
        )
        start("keeper", lambda: self.link.run("127.0.0.1", broker.operators), self.failures.append)

    @property
    def payloads(self) -> list[bytes]:
        return [one.payload for one in self.got]


def test_a_message_comes_again_until_it_is_confirmed(broker: Broker, centre: Centre) -> None:
    """The broker sends no more than it may before one is confirmed; and a confirmation of an earlier connection is none."""
    first = Keeper(centre, broker)
    until(lambda: first.connected, "it is connected")
    for number in range(14):
        broker.publish(f"{HERE}/event/door", str(number))
    until(lambda: len(first.got) == 10, "as many as may be on their way")
    for one in first.got[:4]:
        first.link.confirm(one)
    until(lambda: len(first.got) == 14, "the others came")
    first.link.close()
    second = Keeper(centre, broker)
    until(lambda: len(second.got) == 10, "what was not confirmed came again")
    assert second.link.session_kept
    assert second.payloads == [str(number).encode() for number in range(4, 14)]
    stale = [replace(one, connection=0) for one in second.got]
    for one in stale:
        second.link.confirm(one)
    second.link.close()
    broker.publish(f"{HERE}/event/door", "last")
    third = Keeper(centre, broker, most=20)
    until(lambda: b"last" in third.payloads, "all that is not confirmed came")
    assert third.payloads == [*second.payloads, b"last"], "a stale confirmation changed something"
    third.link.close()
