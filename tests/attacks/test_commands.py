"""Commands: an ack names the press that it answers; each is obeyed once, in its boot and in its minute (14.C10)."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.envelope import Envelope
from agent.messages import Alarm, CommandAnswer, Health, Message, State, encode
from central.fleet.broker_connection import operator_session
from privacy.errors import LyktaError
from tests.support.asking import ask
from tests.support.broker import NAME, PATIENCE, Broker, Published
from tests.support.clips import central, made
from tests.support.commanding import now_ms, ordered
from tests.support.nodes import Node, until
from tests.support.nodes import stop as end
from tests.support.stop import Stop
from tests.support.wrong_clocks import CLOCKS, STEADY

HERE = "linkoping-demo/stop-1"
NOW = datetime.now(UTC)


def told(node: Node) -> list[dict[str, Any]]:
    """The bodies that stand in the outbox."""
    with sqlite3.connect(node.layout.io_outbox) as database:
        rows = database.execute("SELECT payload FROM messages ORDER BY seq").fetchall()
    return [json.loads(payload)["body"] for (payload,) in rows if payload]


def answers(node: Node) -> list[tuple[str, str]]:
    return [(body["result"], body["reason"]) for body in told(node) if body["type"] == "command"]


def detail(node: Node, name: str) -> object:
    found = node.status("io").get("detail", {})
    return {**found, **found.get("parts", {})}.get(name)


def give(node: Node, token: bytes) -> dict[str, Any]:
    """As the uplink hands it on."""
    return ask(node.layout.socket("io", "uplink"), {"verb": "command", "name": "", "jws": token.decode()})


def pressed(node: Node) -> str:
    """The name of a press that is made now."""
    before = [body["press"] for body in told(node) if body.get("action") == "pressed"]
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})

    def new() -> list[str]:
        return [body["press"] for body in told(node) if body.get("action") == "pressed" and body["press"] not in before]

    until(new, "the press stands in the outbox")
    return new()[0]


@pytest.fixture
def helping(node: Node) -> Iterator[Node]:
    """A node whose io runs, with a light; whoever stops it starts it again."""
    node.settings(pins__light="6")
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "io is ready")
    yield node
    if service.poll() is None:
        end(service)


def test_an_ack_for_one_press_is_none_for_the_next(helping: Node) -> None:
    """14.C10: who keeps an old ack back, or signs one for no press, takes no later call with it."""
    first = pressed(helping)
    kept = ordered(helping.centre, HERE, "ack", {"press": "another"})
    with pytest.raises(LyktaError, match="press_not_open"):
        give(helping, kept)
    with pytest.raises(LyktaError, match="arguments"):
        give(helping, ordered(helping.centre, HERE, "ack", {"press": ""}))
    assert detail(helping, "lamp") == "blinking"
    assert give(helping, ordered(helping.centre, HERE, "ack", {"press": first})) == {"obeyed": True}
    until(lambda: detail(helping, "lamp") == "steady", "the call is taken")
    second = pressed(helping)
    until(lambda: detail(helping, "lamp") == "blinking", "a second call")
    with pytest.raises(LyktaError, match="press_not_open"):
        give(helping, ordered(helping.centre, HERE, "ack", {"press": first}))
    assert detail(helping, "lamp") == "blinking"
    assert give(helping, ordered(helping.centre, HERE, "ack", {"press": second})) == {"obeyed": True}


def test_a_repeated_command_is_not_obeyed_after_a_restart_of_io(node: Node) -> None:
    """14.C10: within its minute and the same boot, over a stop and a start, and however often."""
    node.settings(pins__light="6")
    first = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "io is ready")
    token = ordered(node.centre, HERE, "light", {"state": "on", "minutes": "5"})
    earlier = ordered(node.centre, HERE, "light", {"state": "on", "minutes": "5"}, number=1)
    assert give(node, token) == {"obeyed": True}
    until(lambda: detail(node, "light") == "steady", "the light is lit")
    until(lambda: answers(node) == [("done", "")], "the command is answered")
    assert end(first) == 0
    again = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "io is ready again")
    for old in (token, earlier, token):
        assert give(node, old) == {"obeyed": False, "reason": "repeated"}
    last = ordered(node.centre, HERE, "light", {"state": "off", "minutes": "1"})
    assert give(node, last) == {"obeyed": True}
    until(lambda: answers(node) == [("done", ""), ("done", "")], "only what is new is answered")
    assert [body["state"] for body in told(node) if body["type"] == "switch"].count("on") == 1
    assert end(again) == 0


@pytest.mark.parametrize(
    ("changes", "reason", "answered"),
    [
        ({"boot_id": "00000000-0000-0000-0000-000000000000"}, "other_boot", False),
        ({"end_ms": 1}, "expired", True),
        ({"end_ms": 2**52}, "too_long", True),
        ({"name": "reboot"}, "other_service", False),
        ({"name": "ping", "args": {}}, "other_service", False),
        ({"args": {"state": "on", "note": "x"}}, "arguments", True),
        ({"args": {"state": "on", "minutes": "1_0"}}, "arguments", True),
        ({"args": {"state": "on", "minutes": "٣"}}, "arguments", True),
        ({"args": {"state": "on", "minutes": "1441"}}, "arguments", True),
    ],
)
def test_what_is_of_another_boot_or_too_late_is_refused(
    helping: Node, changes: dict[str, Any], reason: str, answered: bool
) -> None:
    """14.C10: the node's own time decides. What is new is answered once; what anybody could repeat for ever is not."""
    token = ordered(helping.centre, HERE, "light", {"state": "on"}, **changes)
    with pytest.raises(LyktaError, match=reason):
        give(helping, token)
    if answered:
        assert give(helping, token) == {"obeyed": False, "reason": "repeated"}
    wanted = [("refused", reason)] if answered else []
    until(lambda: answers(helping) == wanted, "what is new is answered, once")
    assert detail(helping, "light") == "off"
    assert give(helping, ordered(helping.centre, HERE, "light", {"state": "on"})) == {"obeyed": True}


def test_a_minute_in_the_nodes_own_time_is_the_longest(helping: Node) -> None:
    for ahead_ms in (120_000, 75_000):
        with pytest.raises(LyktaError, match="too_long"):
            give(helping, ordered(helping.centre, HERE, "light", {"state": "on"}, end_ms=now_ms() + ahead_ms))


@pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime: provisioning/setup/setup.sh powercut")
def test_a_node_in_another_year_obeys(node: Node) -> None:
    """14.C10: no wall clock is asked: a node in 1970, for which nobody vouches, takes an ack as any other, and once."""
    early = subprocess.Popen(["faketime", "-f", CLOCKS["1970"], *node.words("io")], env=os.environ | STEADY)
    until(lambda: node.state("io")[0] == "ready", "io is ready")
    assert detail(node, "clock") == "unknown"
    token = ordered(node.centre, HERE, "ack", {"press": pressed(node)})
    assert give(node, token) == {"obeyed": True}
    until(lambda: detail(node, "lamp") == "steady", "the call is taken")
    assert give(node, token) == {"obeyed": False, "reason": "repeated"}
    # faketime starts the command as its child and hands no signal on.
    os.kill(node.status("io")["pid"], signal.SIGTERM)
    assert early.wait(PATIENCE * 20) == 0


def test_an_ack_counts_where_its_number_cannot_be_kept(helping: Node) -> None:
    """Promise 5: with /run full help is still answered; the light, which could be repeated, is refused."""
    press = pressed(helping)
    kept = helping.layout.last_command("io")
    kept.mkdir()  # a folder in its place: the file cannot be written, by root neither
    (kept / "x").touch()
    with pytest.raises(LyktaError, match="not_kept"):
        give(helping, ordered(helping.centre, HERE, "light", {"state": "on"}))
    assert give(helping, ordered(helping.centre, HERE, "ack", {"press": press})) == {"obeyed": True}
    until(lambda: detail(helping, "lamp") == "steady", "the call is taken")


# -- over a broker -----------------------------------------------------------------------------------------------------


def test_ops_take_a_call_without_saying_more(whole: Node, stop: Stop, broker: Broker) -> None:
    """14.C10: `send ack` reads press, boot and the node's time from the broker; replayed at the broker it does nothing."""
    keys, address = broker.centre.folder, f"127.0.0.1:{broker.port}"
    with broker.ear() as heard:
        until(lambda: stop.messages(heard(), "state"), "the node says its state")
        refused = central("send", keys, NAME, "ack", "--broker", address)
        assert (refused.returncode, "no call for help is open" in refused.stderr) == (2, True)
        ask(whole.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
        until(lambda: stop.messages(heard(), "alarm/help"), "the alarm is heard")
        said = json.loads(made("send", keys, NAME, "ack", "--broker", address, "--json"))
        alarm = stop.messages(heard(), "alarm/help")[0].body
        assert isinstance(alarm, Alarm)
        assert (said["result"], said["args"]) == ("done", {"press": alarm.ref})
        until(lambda: detail(whole, "lamp") == "steady", "the call is taken")
        answer = until(lambda: stop.messages(heard(), f"rsp/{said['id']}"), "the answer is heard")[0].body
        assert isinstance(answer, CommandAnswer)
        assert (answer.name, answer.result) == ("ack", "done")
        token = next(one.payload for one in heard() if one.tail == "cmd/ack")
        broker.publish(f"{stop.here}/cmd/ack", token)
        lit = json.loads(made("send", keys, NAME, "light", "--arg", "state=on", "--broker", address, "--json"))
        assert lit["result"] == "done"
        wrong = central("send", keys, NAME, "light", "--arg", "state=bright", "--broker", address)
        assert (wrong.returncode, "state" in wrong.stderr) == (2, True)
        late = central("send", keys, NAME, "ack", "--arg", "press=another", "--broker", address)
        assert (late.returncode, "refused: press_not_open" in late.stdout) == (1, True)
        until(lambda: answered(heard()) >= 3, "all answers are heard")
        assert answered(heard()) == 3


def answered(heard: list[Published]) -> int:
    return len([one for one in heard if one.tail.startswith("rsp/")])


def test_a_node_that_nobody_heard_gets_no_command(broker: Broker) -> None:
    keys, words = broker.centre.folder, ("light", "--arg", "state=on", "--broker", f"127.0.0.1:{broker.port}")
    done = central("send", keys, NAME, *words)
    assert (done.returncode, "was never enrolled" in done.stderr) == (2, True)
    broker.centre.issue(NAME, "tls")
    done = central("send", keys, NAME, *words)
    assert (done.returncode, "has never sent its state" in done.stderr) == (2, True)


@pytest.mark.parametrize("knows", ["synced", "unknown"])
def test_a_node_that_talks_without_end_holds_up_no_command(broker: Broker, knows: Any) -> None:
    """`send` waited for a pause that never came; and what was kept from yesterday was taken for a node that nobody heard."""
    names = itertools.count(1)

    def said(body: Any, *, hist: bool) -> bytes:
        one = next(names)
        return encode(Message(Envelope(1, f"0{one:07}-0000-7000-8000-000000000001", "e", one, NOW, one, "b", knows, hist), body))

    broker.centre.issue(NAME, "tls")
    over = threading.Event()
    where, address = f"lykta/v1/{NAME}", f"127.0.0.1:{broker.operators}"

    def talk() -> None:
        with operator_session(broker.centre.folder, address) as session:
            session.publish(f"{where}/state", said(State("ready", "filming", None, None, "nobody", {}), hist=False), retain=True)
            for number in itertools.count():
                session.publish(f"{where}/health/link", said(Health("link", {"connected": 1}, {}), hist=number % 8 > 0))
                if over.wait(0.2):
                    return

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        with broker.ear() as heard:
            until(lambda: [one for one in heard() if one.tail == "health/link"], "the node talks")
        words = ("light", "--arg", "state=on", "--broker", address, "--wait", "2")
        done = central("send", broker.centre.folder, NAME, *words)
        assert talker.is_alive()
    finally:
        over.set()
        talker.join()
    assert (done.returncode, "no final answer in 2 s" in done.stdout) == (4, True), done.stderr
