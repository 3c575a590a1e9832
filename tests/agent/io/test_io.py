"""The help point: press to lamp, outbox and camera; it needs neither camera nor network."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from drivers.gpio.wired_pins import WiredPins
from privacy.errors import ConfigError, LyktaError
from tests.support.asking import ask
from tests.support.broker import PATIENCE
from tests.support.commanding import ordered
from tests.support.nodes import BIN, PROJECT, Node, stop, until


def press(node: Node) -> None:
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})


def lamp(node: Node) -> str:
    return str(node.status("io").get("detail", {}).get("lamp"))


def store_of(node: Node) -> Path:
    return node.layout.io_outbox


def said(node: Node) -> list[tuple[str, str]]:
    """Topic tails and bodies in the outbox; an empty body clears a retained topic."""
    with sqlite3.connect(store_of(node)) as database:
        rows = database.execute("SELECT tail, payload FROM messages ORDER BY seq").fetchall()
    return [(tail, json.loads(payload)["body"] if payload else {}) for tail, payload in rows]


def test_a_press_without_camera_and_network(node: Node) -> None:
    """Promise 5: the camera was never started, no broker exists; lamp, event, alarm and journal are there."""
    service = node.start("io")
    until(lambda: node.state("io") == ("ready", "listening"), "ready")
    press(node)
    until(lambda: lamp(node) == "blinking", "the lamp blinks")
    until(lambda: len(said(node)) == 2, "event and alarm stand in the outbox")
    (event, pressed), (alarm, raised) = said(node)
    assert (event, pressed["action"]) == ("event/help", "pressed")
    assert (alarm, raised["ref"]) == ("alarm/help", pressed["press"])
    until(lambda: node.status("io")["detail"]["dropped_datagrams"] == 1, "the camera's deafness is counted")
    assert stop(service) == 0
    assert node.run("check", "journal").returncode == 0


def test_taken_by_a_signed_command_and_by_nothing_else(node: Node) -> None:
    """The operator's ack makes the lamp stand; a stranger's, another node's and a repeated one do not."""
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    press(node)
    until(lambda: lamp(node) == "blinking", "the lamp blinks")
    door = node.layout.socket("io", "uplink")
    for bad in (b"no.jws.here", ordered(node.centre, "linkoping-demo/stop-2", "ack", {"press": "any"}), b""):
        with pytest.raises(LyktaError):
            ask(door, {"verb": "command", "name": "ack", "jws": bad.decode()})
    assert lamp(node) == "blinking"
    until(lambda: said(node), "the press stands in the outbox")
    good = ordered(node.centre, "linkoping-demo/stop-1", "ack", {"press": said(node)[0][1]["press"]}).decode()
    assert ask(door, {"verb": "command", "name": "ack", "jws": good}) == {"obeyed": True}
    until(lambda: lamp(node) == "steady", "the lamp stands")
    assert ask(door, {"verb": "command", "name": "ack", "jws": good})["obeyed"] is False
    until(lambda: ("alarm/help", {}) in said(node), "the alarm is cleared")
    assert ("event/help", "taken") in [(tail, body.get("action")) for tail, body in said(node)]
    assert stop(service) == 0


def test_io_keeps_no_library_that_it_does_not_need(node: Node) -> None:
    """It is to stay under 40 MB: neither the command line's libraries, nor numpy, nor OpenSSL twice."""
    service = subprocess.Popen([BIN / "lykta", "io"], env=os.environ | {"LYKTA_ROOT": str(node.root)}, stderr=subprocess.DEVNULL)
    until(lambda: node.state("io") == ("ready", "listening"), "ready")
    maps = Path(f"/proc/{service.pid}/maps").read_text()
    assert "_rust.abi3.so" in maps  # cryptography: it checks what the operator signed
    assert [name for name in ("libcrypto", "numpy", "cv2", "pydantic", "psutil") if name in maps] == []
    assert stop(service) == 0


def test_a_disk_that_refuses_does_not_put_the_lamp_out(node: Node) -> None:
    """Promise 5: the event waits in memory and is written once the disk takes it; the state says so meanwhile."""
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    with sqlite3.connect(store_of(node)) as hog:
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
        ear.settimeout(PATIENCE * 10)
        service = node.start("io")
        until(lambda: node.state("io")[0] == "ready", "ready")
        press(node)
        heard = json.loads(ear.recv(1024))
    assert heard["kind"] == "help"
    until(lambda: said(node), "the event stands in the outbox")
    assert heard["id"] == said(node)[0][1]["press"]
    assert stop(service) == 0


def test_commands_are_not_taken_from_technicians_socket(node: Node) -> None:
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    with pytest.raises(LyktaError, match="unknown verb"):
        ask(node.layout.socket("io", "ctl"), {"verb": "command", "name": "ack", "jws": ""})
    assert stop(service) == 0


def test_one_pin_for_two_things_is_refused(node: Node) -> None:
    with pytest.raises(ConfigError, match="help_button and help_lamp: must differ"):
        WiredPins("mock", "", {"help_button": 17, "help_lamp": 17})
    node.settings(pins__help_lamp="17", pins__help_button="17")
    assert node.run("io").returncode == 5


WIRED = {
    "service_button": "5", "light": "6", "light_current": "12", "ir_light": "13", "tamper": "16", "door": "19",
    "light_sensor": "20", "motion": "21", "status_led": "23", "fan": "24",
}  # fmt: skip


def work(node: Node, name: str, closed: bool) -> None:
    ask(node.layout.socket("io", "ctl"), {"verb": "set", "name": name, "closed": closed})


def detail(node: Node, name: str) -> str:
    found = node.status("io").get("detail", {})
    return str({**found, **found.get("parts", {})}.get(name))


def test_a_stop_with_everything_wired(node: Node) -> None:
    """Light by presence in the dark, a dead lamp, door, case and service button: contact in, lamps and messages out."""
    node.settings(**{f"pins__{name}": line for name, line in WIRED.items()})
    service = node.start("io")
    until(lambda: node.state("io") == ("ready", "listening"), "ready")
    assert (detail(node, "light"), detail(node, "status_led"), detail(node, "door")) == ("off", "steady", "open")
    work(node, "light_current", True)
    work(node, "light_sensor", True)
    work(node, "motion", True)
    until(lambda: detail(node, "light") == "steady", "the light is lit for whoever comes in the dark")
    work(node, "light_current", False)
    until(lambda: ("alarm/light", "no_current") in bodies(node, "reason"), "the lamp is dead")
    work(node, "light_current", True)
    until(lambda: ("event/light", "mended") in bodies(node, "state"), "the lamp is mended")
    work(node, "light_sensor", False)
    until(lambda: detail(node, "light") == "off", "by day it is out")
    press(node)
    until(lambda: detail(node, "light") == "steady", "a call is lit by day, too")
    work(node, "door", True)
    work(node, "tamper", True)
    until(lambda: ("event/door", "closed") in bodies(node, "state"), "the door is told")
    assert ("event/tamper", "found") in bodies(node, "action"), "the case stood open when this began"
    until(lambda: ("event/tamper", "over") in bodies(node, "action"), "the case is shut")
    work(node, "service_button", True)
    until(lambda: "service_button_held" in node.run("journal", "show", "io", "--json").stdout, "it is in the journal", 30)
    assert [tail for tail, body in said(node) if tail == "event/motion"] == ["event/motion"]
    assert stop(service) == 0


def bodies(node: Node, field: str) -> set[tuple[str, str]]:
    return {(tail, str(body.get(field))) for tail, body in said(node)}


def test_ops_may_light_the_stop(node: Node) -> None:
    """A signed command for some minutes; what is no light is refused before it counts as obeyed."""
    node.settings(pins__light="6")
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    door = node.layout.socket("io", "uplink")

    def order(**words: str) -> dict[str, object]:
        token = ordered(node.centre, "linkoping-demo/stop-1", "light", words).decode()
        return ask(door, {"verb": "command", "name": "light", "jws": token})

    for bad in ({}, {"state": "bright"}, {"state": "on", "minutes": "0"}, {"state": "on", "minutes": "forever"}):
        with pytest.raises(LyktaError, match="light: refused: arguments"):
            order(**bad)
    assert order(state="on", minutes="5") == {"obeyed": True}
    until(lambda: detail(node, "light") == "steady", "it is lit")
    assert order(state="off", minutes="5") == {"obeyed": True}
    until(lambda: detail(node, "light") == "off", "it is out")
    assert stop(service) == 0


def test_the_camera_tells_io_who_waits_and_when_it_is_dark(node: Node) -> None:
    """A word each way on a socket of its own: never a count, and nothing that is not a word."""
    node.settings(pins__light="6", pins__ir_light="13")
    service = node.start("io")
    until(node.layout.presence.exists, "io listens to the camera")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        for word in (b"no word", b"{}", b'{"kind": 1}'):
            mouth.sendto(word, str(node.layout.presence))
        mouth.sendto(json.dumps({"kind": "dark", "id": "", "t_ms": 0}).encode(), str(node.layout.presence))
        until(lambda: detail(node, "ir_light") == "steady", "the infrared light is lit")
        mouth.sendto(json.dumps({"kind": "waiting", "id": "", "t_ms": 0}).encode(), str(node.layout.presence))
        until(lambda: detail(node, "light") == "steady", "the light is lit for who waits")
        mouth.sendto(json.dumps({"kind": "bright", "id": "", "t_ms": 0}).encode(), str(node.layout.presence))
        until(lambda: detail(node, "ir_light") == "off", "the infrared light is out")
    assert stop(service) == 0
    assert "datagram: not understood" in node.log()


def test_the_path_is_tested_without_lamp_and_alarm(node: Node) -> None:
    """When a technician asks: a message as a press would send, and nothing else."""
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    done = node.run("help-test")
    assert done.returncode == 0
    until(lambda: said(node), "it stands in the outbox")
    assert [tail for tail, _ in said(node)] == ["event/help_test"]
    assert said(node)[0][1]["button"] == "open"
    assert (lamp(node), node.status("io")["detail"]["presses"]) == ("off", 0)
    assert stop(service) == 0


def test_the_path_is_tested_each_week_by_itself(node: Node) -> None:
    """By the node's own time since boot, which goes a hundred thousand times as fast here."""
    service = start_with(node, fitted={"help_button": 17, "help_lamp": 27}, times=100_000)
    try:
        until(lambda: len(said(node)) >= 2, "two tests stand in the outbox")
    finally:
        assert stop(service) == 0
    assert {tail for tail, _ in said(node)} == {"event/help_test"}
    with sqlite3.connect(store_of(node)) as database:
        rows = database.execute("SELECT payload FROM messages ORDER BY seq").fetchall()
    moments = [json.loads(payload)["envelope"]["mono_ms"] for (payload,) in rows]
    assert all(later - earlier >= 7 * 24 * 3_600_000 for earlier, later in pairwise(moments))


@pytest.mark.parametrize("key", ["gone", "empty", "none", "foreign"])
def test_without_its_key_help_goes_on(node: Node, key: str) -> None:
    """Promise 5: a missing credential costs the journal, not the help; the state names it."""
    path = node.layout.etc / "credentials/io.key"
    if key == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "none": b"none", "foreign": (path.parent / "camera.key").read_bytes()}[key])
    service = node.start("io")
    until(lambda: node.state("io") == ("degraded", "not_enrolled"), "io says what is missing")
    press(node)
    until(lambda: lamp(node) == "blinking", "the lamp blinks")
    until(lambda: [tail for tail, _ in said(node)] == ["event/help", "alarm/help"], "event and alarm are there")
    assert stop(service) == 0


@pytest.mark.parametrize("slip", ["[camera]\nfps = 1000\n", "[cammera]\nfps = 15\n", '[modem]\npower = "usb"\n'])
def test_a_slip_in_other_settings_does_not_keep_help_down(node: Node, slip: str) -> None:
    """Promise 5: what io does not read cannot stop it; the camera and the uplink refuse the file, and it says so."""
    text = (
        node.layout.config.read_text().replace("[camera]", "[unused]")
        if slip.startswith("[camera]")
        else node.layout.config.read_text()
    )
    node.layout.config.write_text(f"{text}\n{slip}")
    assert node.run("uplink").returncode == 5
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    assert "lykta.toml" in detail(node, "config_trouble")
    press(node)
    until(lambda: lamp(node) == "blinking", "the lamp blinks")
    assert stop(service) == 0


WATCHED = {"help_button": 17, "help_lamp": 27, "tamper": 19, "light": 22, "light_current": 23}


def start_with(node: Node, *closed: str, fitted: dict[str, int] = WATCHED, times: int = 1) -> subprocess.Popen[bytes]:
    """io with these contacts closed at its start; its time since boot passes so many times as fast."""
    words = [sys.executable, "-m", "tests.support.wired_io", node.root, str(times), json.dumps(fitted), *closed]
    with (node.root / "log").open("ab") as log:
        service = subprocess.Popen(words, stdout=log, stderr=log, cwd=PROJECT)
    until(lambda: node.state("io")[0] in ("ready", "degraded"), "it runs")
    return service


def test_a_help_button_closed_at_the_start_is_an_alarm(node: Node) -> None:
    """14.E18: it may have been pressed while nobody watched, or be jammed: help is called and a technician, until it opens."""
    fitted = {"help_button": 17, "help_lamp": 27, "motion": 21, "service_button": 5}
    service = start_with(node, "help_button", "motion", "service_button", fitted=fitted)
    until(lambda: lamp(node) == "blinking", "the lamp blinks")
    until(lambda: ("alarm/help_button", "jammed") in bodies(node, "reason"), "the button is told")
    assert {("alarm/help", "pressed"), ("alarm/help_button", "jammed")} <= bodies(node, "reason")
    assert ("event/motion", "begun") in bodies(node, "state")
    assert node.state("io") == ("degraded", "help_button_jammed")
    work(node, "help_button", False)
    until(lambda: ("alarm/help_button", {}) in said(node), "it opened")
    until(lambda: node.state("io") == ("ready", "listening"), "all is well")
    work(node, "help_button", True)
    assert stop(service) == 0
    assert "service_button_held" not in node.run("journal", "show", "io", "--json").stdout


def test_a_call_that_nobody_takes_ends_by_itself(node: Node) -> None:
    """Nothing but time passes after the press: the lamp goes out, and the centre hears that nobody came."""
    service = start_with(node, times=60)
    try:
        press(node)
        until(lambda: ("event/help", "unanswered") in bodies(node, "action"), "a minute of the node's is over", 15)
        until(lambda: lamp(node) == "off", "the lamp is off")
    finally:
        assert stop(service) == 0
    assert "alarm/help" not in alarms(node)
    [pressed, unanswered] = [body for tail, body in said(node) if tail == "event/help"]
    assert (pressed["action"], unanswered["press"]) == ("pressed", pressed["press"])


def alarms(node: Node) -> dict[str, str]:
    """What stands at the broker by what io said: the last word on each alarm's topic."""
    last = {tail: str(body.get("reason", "")) for tail, body in said(node) if tail.startswith("alarm/")}
    return {tail: reason for tail, reason in last.items() if reason}


def test_an_alarm_that_is_over_while_io_was_away_is_told_at_its_start(node: Node) -> None:
    """It stood at the broker for ever: only what changes while io runs was told."""
    with node.layout.config.open("a") as settings:
        settings.write('\n[[light.hours]]\ndays = [1, 2, 3, 4, 5, 6, 7]\nbegin = "00:00"\nend = "24:00"\n')
    service = start_with(node, "help_button")
    everything = {"alarm/help", "alarm/help_button", "alarm/case", "alarm/light"}
    until(lambda: alarms(node).keys() == everything, "all of them stand")
    [pressed] = [body["press"] for tail, body in said(node) if tail == "event/help"]
    service.kill()
    service.wait()
    service = start_with(node, "tamper", "light_current")
    until(lambda: not alarms(node), "none stands any more")
    assert ("event/help", {"type": "help", "press": pressed, "action": "unanswered"}) in said(node)
    assert ("event/tamper", "over") in bodies(node, "action")
    assert ("event/light", "mended") in bodies(node, "state")
    assert stop(service) == 0


def test_an_alarm_that_still_stands_is_not_cleared_at_a_start(node: Node) -> None:
    """An open case and a jammed button are the same alarm before and after; of what is not fitted any more nothing is known."""
    service = start_with(node, "help_button", "light_current")
    until(lambda: {"alarm/help_button", "alarm/case"} <= alarms(node).keys(), "they stand")
    assert stop(service) == 0
    service = start_with(node, "help_button", "light_current")
    until(lambda: node.state("io") == ("degraded", "help_button_jammed"), "it knows of the button")
    assert ("alarm/case", {}) not in said(node)
    assert ("alarm/help_button", {}) not in said(node)
    assert len([tail for tail, _ in said(node) if tail == "alarm/case"]) == 1, "nothing new is told of it"
    assert stop(service) == 0
    service = node.start("io")
    until(lambda: not alarms(node).keys() & {"alarm/case", "alarm/help_button"}, "no case contact, and the button is open")
    assert stop(service) == 0


def test_a_chattering_contact_costs_no_press_and_its_last_change_is_told(node: Node) -> None:
    """14.E18: hundreds of edges while io waits for its disk: the press is heard, and how the door stands at last is told."""
    node.settings(pins__door="19")
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    with sqlite3.connect(store_of(node)) as hog:
        hog.execute("BEGIN IMMEDIATE")
        for number in range(201):
            work(node, "door", number % 2 == 0)
        press(node)
        for number in range(200):
            work(node, "door", number % 2 == 1)
        until(lambda: lamp(node) == "blinking", "the lamp blinks", 20)
    hog.close()
    until(lambda: ("event/help", "pressed") in bodies(node, "action"), "the press is told", 30)
    until(lambda: [body["state"] for tail, body in said(node) if tail == "event/door"][-1:] == ["closed"], "the door is told", 90)
    assert len(said(node)) < 30
    assert stop(service) == 0
