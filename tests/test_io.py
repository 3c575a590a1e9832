"""The help point: press to lamp, outbox and camera; it needs neither camera nor network."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess

import pytest

from agent.control import ask
from central.signing import command
from drivers.gpio import HelpPoint
from privacy.errors import ConfigError, LyktaError, UsageError
from tests.nodes import Node, stop, until


def press(node: Node) -> None:
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})


def lamp(node: Node) -> str:
    return str(node.status("io").get("detail", {}).get("lamp"))


def said(node: Node) -> list[tuple[str, str]]:
    """Topic tails and bodies in the outbox; an empty body clears a retained topic."""
    with sqlite3.connect(node.layout.outbox) as database:
        rows = database.execute("SELECT tail, payload FROM messages ORDER BY seq").fetchall()
    return [(tail, json.loads(payload)["body"] if payload else {}) for tail, payload in rows]


def test_a_press_without_camera_and_network(node: Node) -> None:
    """Promise 5: the camera was never started, no broker exists; lamp, event, alarm and journal are there."""
    service = node.start("io")
    until(lambda: node.state("io") == ("ready", "listening"), "ready")
    press(node)
    until(lambda: lamp(node) == "blinking", "the lamp blinks")
    (event, pressed), (alarm, raised) = said(node)
    assert (event, pressed["action"]) == ("event/help", "pressed")
    assert (alarm, raised["ref"]) == ("alarm/help", pressed["press"])
    assert node.status("io")["detail"]["dropped_datagrams"] == 1
    assert stop(service) == 0
    assert node.run("check", "journal").returncode == 0


def test_taken_by_a_signed_command_and_by_nothing_else(node: Node) -> None:
    """The operator's ack makes the lamp stand; a stranger's, another node's and a repeated one do not."""
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    press(node)
    until(lambda: lamp(node) == "blinking", "the lamp blinks")
    door = node.layout.socket("io", "uplink")
    for bad in (b"no.jws.here", command(node.centre, "linkoping-demo", "stop-2", "ack", {}), b""):
        with pytest.raises(LyktaError):
            ask(door, {"verb": "command", "name": "ack", "jws": bad.decode()})
    assert lamp(node) == "blinking"
    good = command(node.centre, "linkoping-demo", "stop-1", "ack", {}).decode()
    assert ask(door, {"verb": "command", "name": "ack", "jws": good}) == {"obeyed": True}
    until(lambda: lamp(node) == "steady", "the lamp stands")
    assert ask(door, {"verb": "command", "name": "ack", "jws": good})["obeyed"] is False
    until(lambda: said(node)[-1] == ("alarm/help", {}), "the alarm is cleared")
    assert ("event/help", "taken") in [(tail, body.get("action")) for tail, body in said(node)]
    assert stop(service) == 0


def test_a_disk_that_refuses_does_not_put_the_lamp_out(node: Node) -> None:
    """Promise 5: the event waits in memory and is written once the disk takes it; the state says so meanwhile."""
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    with sqlite3.connect(node.layout.outbox) as hog:
        hog.execute("BEGIN IMMEDIATE")
        press(node)
        until(lambda: node.state("io") == ("degraded", "disk_refuses_events"), "the state says so", 20)
        assert lamp(node) == "blinking"
        hog.rollback()
    until(lambda: node.state("io")[0] == "ready", "ready again")
    assert [tail for tail, _ in said(node)] == ["event/help", "alarm/help"]
    assert stop(service) == 0


def test_the_camera_hears_of_a_press(node: Node) -> None:
    node.layout.trigger.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(node.layout.trigger))
        ear.settimeout(10)
        service = node.start("io")
        until(lambda: node.state("io")[0] == "ready", "ready")
        press(node)
        heard = json.loads(ear.recv(1024))
    assert heard["kind"] == "help"
    assert heard["id"] == said(node)[0][1]["press"]
    assert stop(service) == 0


def test_commands_are_not_taken_from_technicians_socket(node: Node) -> None:
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    with pytest.raises(LyktaError, match="unknown verb"):
        ask(node.layout.socket("io", "ctl"), {"verb": "command", "name": "ack", "jws": ""})
    assert stop(service) == 0


def test_a_node_without_keys_is_not_enrolled(node: Node) -> None:
    (node.layout.etc / "credentials/io.key").unlink()
    done = node.run("io")
    assert done.returncode == 7
    assert "not enrolled" in done.stderr


def test_one_pin_for_two_things_is_refused(node: Node) -> None:
    with pytest.raises(ConfigError, match="must differ"):
        HelpPoint("mock", 17, 17)
    node.settings(pins__help_lamp="17", pins__help_button="17")
    assert node.run("io").returncode == 5


def test_a_real_button_is_not_pressed_by_software() -> None:
    try:
        point = HelpPoint("gpio", 17, 27)
    except LyktaError as problem:
        assert "pins: cannot be opened" in str(problem)
        pytest.skip("this machine has no pins: that is said in one clear error")
    with pytest.raises(UsageError):
        point.press()


def test_io_and_uplink_load_no_pictures_code() -> None:
    """Their memory stays small, and no pixel can reach what cannot hold one."""
    program = "import sys, agent.io, agent.uplink; print([m for m in ('numpy', 'cv2', 'av') if m in sys.modules])"
    import sys

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
