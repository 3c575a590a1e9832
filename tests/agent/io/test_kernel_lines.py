"""Faults of the kernel's lines under `lykta io` (14.A4): each press is heard, or the service ends and says why."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.broker import PATIENCE
from tests.support.kernel_lines import KernelLines
from tests.support.nodes import PROJECT, Node, stop, until

BUTTON, LAMP = 17, 27


@pytest.fixture
def lines(tmp_path: Path, node: Node) -> Iterator[KernelLines]:
    lines = KernelLines(tmp_path / "lines", BUTTON, LAMP)
    node.settings(pins__factory='"gpio"')
    yield lines
    lines.close()


def press(lines: KernelLines) -> None:
    lines.work(BUTTON, True)
    lines.work(BUTTON, False)


def presses(node: Node) -> int:
    return int(node.status("io").get("detail", {}).get("presses", -1))


def failures(node: Node) -> int:
    return int(node.status("io").get("detail", {}).get("contact_failures", -1))


def test_each_press_is_heard_after_a_failed_read(node: Node, lines: KernelLines) -> None:
    """Its thread died of one EIO: of twenty presses four were heard, those that a poll met, and the state stayed `ready`."""
    service = node.start("io", **lines.environment)
    until(lambda: node.state("io") == ("ready", "listening"), f"ready: {node.log()}")
    lines.fail(BUTTON, 1)
    lines.work(BUTTON, True)
    until(lambda: lines.failures_left(BUTTON) == 0, "the read failed")
    until(lambda: presses(node) == 1, "the press whose edge was lost is heard")
    lines.work(BUTTON, False)
    for count in range(2, 21):
        press(lines)
        until(lambda count=count: presses(node) == count, f"press {count} is heard")  # type: ignore[misc]
    assert node.state("io") == ("degraded", "contact_failed")
    assert failures(node) == 1
    assert stop(service) == 0
    assert "a contact could not be read; its line was requested anew times=1" in node.log()


def test_a_line_that_stays_broken_ends_the_service_and_the_next_one_hears(node: Node, lines: KernelLines) -> None:
    """systemd starts it again; the contact that is still closed then is a press."""
    service = node.start("io", **lines.environment)
    until(lambda: node.state("io") == ("ready", "listening"), f"ready: {node.log()}")
    lines.fail(BUTTON, 100)
    for count, closed in ((1, True), (2, False)):
        lines.work(BUTTON, closed)
        until(lambda count=count: failures(node) == count, f"read {count} failed")  # type: ignore[misc]
    lines.work(BUTTON, True)
    assert service.wait(PATIENCE * 10) == 1
    assert "error: pins: line 17 of /dev/gpiochip0: cannot be read: Input/output error" in node.log()
    lines.fail(BUTTON, 0)
    service = node.start("io", **lines.environment)
    until(lambda: presses(node) == 1, f"the closed button is a press: {node.log()}")
    lines.work(BUTTON, False)
    press(lines)
    until(lambda: presses(node) == 2, "and the next one is heard")
    assert stop(service) == 0


@pytest.mark.slow
def test_pins_that_hang_from_the_start_are_said_and_starve_the_watchdog(node: Node, folder: Path) -> None:
    """Their thread owed no sign of life before its first: `ready` for ever, and the watchdog was fed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (node.root / "log").open("ab") as log:
        manager.bind(str(folder / "notify"))
        words = [sys.executable, "-m", "tests.support.hanging_pins", str(node.root)]
        environment = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        service = subprocess.Popen(words, stdout=log, stderr=log, cwd=PROJECT, env=environment)
        until(lambda: node.state("io") == ("ready", "listening"), f"ready: {node.log()}")
        until(lambda: b"WATCHDOG=1" in _said(manager), "the watchdog is fed")
        node.press()
        until(lambda: presses(node) == 1, "the poll hears a press")
        until(lambda: (_said(manager), node.state("io") == ("degraded", "pins_stalled"))[1], "the state says it", 90)
        _said(manager)
        node.press()
        until(lambda: presses(node) == 2, "the main thread works on")
        time.sleep(1.5)  # it feeds once a second at most
        assert b"WATCHDOG=1" not in _said(manager)
    assert stop(service) == 1
    assert "io-pins: does not end" in node.log()


def _said(manager: socket.socket) -> list[bytes]:
    """What systemd was told since the last call."""
    heard = []
    manager.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            heard.append(manager.recv(4096))
    return heard
