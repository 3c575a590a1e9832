"""The rescue of a dead link: what is due for any course of minutes, and what the command really does."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.root.link_rescue import (
    MINUTE,
    MODEM_AGAIN_MS,
    MODEM_MS,
    REBOOT_AGAIN_MS,
    REBOOT_MS,
    RECONNECT_MS,
    RescueFacts,
    RescueState,
    decide,
    taken,
)
from drivers.clock import SystemClock
from drivers.power import usb_port
from tests.support.asking import ask
from tests.support.broker import PATIENCE
from tests.support.nodes import Node, stop, until

FREE = RescueFacts(False, False, False)
MINUTES = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.sampled_from([False] * 8 + [True]),
        st.builds(RescueFacts, st.booleans(), st.booleans(), st.booleans()),
        st.integers(0, 25),
    ),
    max_size=120,
)


@given(MINUTES)
def test_no_course_of_minutes_breaks_a_rule(minutes: list[tuple[int, bool, RescueFacts, int]]) -> None:
    """Each rung only after its quiet time; a reboot never in hours, in a hold, in a call, nor twice in a day of powered time.

    Each step: so many minutes pass, then perhaps a power cut (one in 26), then one look.
    """
    boot, now, powered, reboots, course, modem = 0, 0, 0, [], RescueState("0"), None
    for pause, connected, facts, luck in minutes:
        now, powered = now + pause * MINUTE, powered + pause * MINUTE
        if luck == 25:
            boot, now, modem = boot + 1, 0, None
        course = course.now(str(boot), now, connected)
        decision = decide(course, facts)
        if connected:
            modem = None
            assert decision.rung is None
        if decision.rung is None:
            continue
        course = taken(course, decision.rung)
        assert course.quiet_ms >= {"reconnect": RECONNECT_MS, "modem": MODEM_MS, "reboot": REBOOT_MS}[decision.rung]
        if decision.rung == "modem":
            assert modem is None or now - modem >= MODEM_AGAIN_MS
            modem = now
        if decision.rung == "reboot":
            assert facts == FREE
            reboots.append(course.powered_ms)
            boot, now, modem = boot + 1, 0, None
    assert all(later - earlier >= REBOOT_AGAIN_MS for earlier, later in itertools.pairwise(reboots))
    assert course.powered_ms <= powered, "powered time is never counted twice"


def test_a_link_that_stays_dead_climbs_in_order() -> None:
    course, rungs = RescueState("boot"), []
    for minute in range(0, 400):
        course = course.now("boot", minute * MINUTE, False)
        if rung := decide(course, FREE).rung:
            rungs.append((minute, rung))
            course = taken(course, rung)
            if rung == "reboot":
                break
    assert rungs[:2] == [(15, "reconnect"), (30, "modem")]
    assert rungs[-1] == (360, "reboot")
    assert [minute for minute, rung in rungs if rung == "modem"] == [30, 150, 270]


@pytest.mark.parametrize(
    ("facts", "refusal"),
    [
        (RescueFacts(True, False, False), "hours"),
        (RescueFacts(False, True, False), "hold"),
        (RescueFacts(False, False, True), "help"),
    ],
)
def test_what_forbids_a_reboot_forbids_nothing_below_it(facts: RescueFacts, refusal: str) -> None:
    course = RescueState("boot").now("boot", REBOOT_MS, False)
    decision = decide(course, facts)
    assert (decision.refusal, decision.rung) == (refusal, "modem")


@pytest.mark.parametrize(
    ("port", "path"),
    [("1-1.2", "1-1:1.0/1-1-port2/disable"), ("1-2", "1-0:1.0/usb1-port2/disable"), ("2-1.4.3", "2-1.4:1.0/2-1.4-port3/disable")],
)
def test_where_a_hub_switches_a_port(port: str, path: str) -> None:
    assert usb_port(Path(), port) == Path(path)


# -- the command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def systemd(tmp_path: Path) -> Path:
    """A systemctl that writes down what it was asked: the node under test must not restart this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (folder / "systemctl").chmod(0o755)
    return folder


def look(node: Node, systemd: Path, *words: str) -> dict[str, Any]:
    environment = os.environ | {"PATH": f"{systemd}:{os.environ['PATH']}"}
    done = subprocess.run(node.words("link", "--json", *words), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout)) | {"code": done.returncode}


def quiet(node: Node, minutes: int, **facts: Any) -> None:
    """As if the broker had been away for so long."""
    clock = SystemClock("host")
    heard = clock.mono_ms() - minutes * MINUTE
    path = node.layout.var / "link/course.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(RescueState(clock.boot_id, clock.mono_ms(), heard, **facts)))


def waiting(node: Node) -> list[tuple[str, str]]:
    """What of it is in the outbox."""
    if not node.layout.outbox.exists():
        return []
    with sqlite3.connect(node.layout.outbox) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'messages'").fetchone():
            return []
        rows = database.execute("SELECT payload FROM messages WHERE tail = 'event/link' ORDER BY seq").fetchall()
    return [(body["rung"], body["result"]) for body in (json.loads(payload)["body"] for (payload,) in rows)]


def events(node: Node, most: int) -> list[tuple[str, str]]:
    """What an uplink tells that starts now."""
    service = node.start("uplink")
    until(lambda: len(waiting(node)) >= most, f"{most} rungs are in the outbox")
    assert stop(service) == 0
    return waiting(node)


def asked(systemd: Path) -> list[str]:
    path = systemd.parent / "asked"
    return path.read_text().splitlines() if path.exists() else []


def test_a_fresh_connection_is_a_fresh_process(node: Node, systemd: Path) -> None:
    quiet(node, 16)
    assert look(node, systemd, "--dry-run")["rung"] == "reconnect"
    assert (asked(systemd), node.layout.outbox.exists()) == ([], False), "a dry run changes nothing"
    assert look(node, systemd)["result"] == "done"
    assert asked(systemd) == ["--no-block restart lykta-uplink.service"]
    assert events(node, 1) == [("reconnect", "done")]
    assert look(node, systemd)["rung"] is None, "not again in the next minute"


def test_each_rung_is_told_once_and_also_without_a_link(node: Node, systemd: Path) -> None:
    """Over starts of the uplink; and while it runs, within the second in which it looks."""
    quiet(node, 16)
    look(node, systemd)
    assert events(node, 1) == [("reconnect", "done")]
    service = node.start("uplink")
    until(lambda: node.status("uplink"), "it answers")
    quiet(node, 31)
    look(node, systemd)
    until(lambda: len(waiting(node)) >= 2, "the second rung is in the outbox")
    assert stop(service) == 0
    assert waiting(node) == [("reconnect", "done"), ("modem", "not_fitted")]


def test_a_damaged_list_of_rungs_begins_anew(node: Node, systemd: Path) -> None:
    node.layout.link.mkdir()
    (node.layout.link / "rungs.json").write_bytes(b"[" * 9000)
    quiet(node, 16)
    assert look(node, systemd)["code"] == 0
    assert events(node, 1) == [("reconnect", "done")]


def test_the_modems_port_is_switched_off_and_on(node: Node, systemd: Path) -> None:
    """On a tree laid out as the kernel's; a port that cannot be switched is a failure that is told."""
    node.layout.config.write_text(node.layout.config.read_text() + '\n[modem]\npower = "usb"\nusb_port = "1-1.2"\n')
    quiet(node, 31)
    found = look(node, systemd)
    assert (found["rung"], found["result"], found["code"]) == ("modem", "failed", 1)
    switch = usb_port(node.root / "sys/bus/usb/devices", "1-1.2")
    switch.parent.mkdir(parents=True)
    os.mkfifo(switch)
    quiet(node, 31)
    with subprocess.Popen(["sh", "-c", f"cat {switch}; cat {switch}"], stdout=subprocess.PIPE, text=True) as reader:
        assert look(node, systemd)["result"] == "done"
        assert reader.communicate(timeout=PATIENCE * 30)[0] == "10"
    assert events(node, 2) == [("modem", "failed"), ("modem", "done")]


def test_a_modem_that_is_not_fitted_is_told_once(node: Node, systemd: Path) -> None:
    quiet(node, 31)
    assert look(node, systemd)["result"] == "not_fitted"
    quiet(node, 31, told=("not_fitted",))
    assert look(node, systemd)["result"] == "not_fitted"
    assert events(node, 1) == [("modem", "not_fitted")]


def test_a_reboot_waits_for_the_hours_the_hold_and_the_call(node: Node, systemd: Path) -> None:
    """The demo's basis has all hours; then none; then io is silent; then somebody calls; only then the board starts again."""
    quiet(node, 361)
    assert look(node, systemd)["refused"] == "help", "io is silent: nobody can say that nobody calls"
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    quiet(node, 361)
    assert look(node, systemd)["refused"] == "hours"
    node.layout.basis.unlink()
    (node.layout.spool / "one").mkdir(parents=True)
    (node.layout.spool / "one/hold.jws").touch()
    quiet(node, 361)
    assert look(node, systemd)["refused"] == "hold"
    (node.layout.spool / "one/hold.jws").unlink()
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
    until(lambda: node.status("io")["detail"]["call"] == "open", "somebody calls")
    quiet(node, 361)
    assert look(node, systemd)["refused"] == "help"
    assert stop(service) == 0
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "ready")
    quiet(node, 361)
    assert look(node, systemd)["rung"] == "reboot"
    assert asked(systemd)[-1] == "--no-block reboot"
    quiet(node, 361, rebooted_ms=0)
    assert look(node, systemd)["refused"] == "daily"
    assert stop(service) == 0
    told = [result for rung, result in events(node, 11) if rung == "reboot"]
    assert told == ["help", "hours", "hold", "help", "done", "daily"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ('power = "usb"', "modem.usb_port: must be set"),
        ('power = "gpio"', "modem.pin: must be set"),
        ('power = "gpio"\npin = 27', "modem.pin and pins.help_lamp: must differ (got 27 twice)"),
    ],
)
def test_a_modem_that_cannot_be_switched_is_refused_before_it_is_needed(node: Node, settings: str, problem: str) -> None:
    node.layout.config.write_text(f"{node.layout.config.read_text()}\n[modem]\n{settings}\n")
    done = node.run("config", "validate")
    assert done.returncode == 5
    assert problem in done.stderr
