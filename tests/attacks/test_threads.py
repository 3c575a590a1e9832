"""A dead or deaf thread is seen (14.A4): no packet ends one, and one that has stopped degrades the state or ends the service."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from agent.messages import Help
from agent.runtime.config import load
from agent.runtime.service import Runtime
from tests.support.broker import HERE, until
from tests.support.fake_broker import PUBLISH, FakeBroker, Talk, packet
from tests.support.nodes import Node
from tests.support.nodes import stop as end
from tests.support.nodes import until as wait
from tests.support.stop import Stop


def test_a_topic_that_is_no_text_is_set_aside(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """It ended paho's thread, and the state stayed `ready: connected` for ever."""

    def odd(talk: Talk) -> None:
        talk.let_in()
        talk.publish(b"\xff\xfe/cmd/ack", b"x")
        talk.publish(f"{HERE}/cmd/unheard".encode(), b"x.y.z")
        talk.attend()

    fake = meet(odd)
    until(lambda: stop.detail("unreadable") == 1, "it is counted")
    until(lambda: stop.detail("ignored_commands") == 1, "the next one was heard")
    stop.outbox().put(Help("press-1", "pressed"))
    until(lambda: "event/help" in fake.topics(), "and the link works on")
    assert len(fake.begun_s) == 1


@pytest.mark.parametrize(
    "data",
    [
        packet(PUBLISH, 0, struct.pack("!H", 9) + b"a"),
        packet(PUBLISH, 2, b""),
        packet(PUBLISH, 0, struct.pack("!H", 1) + b"a" + b"\x05\x26\x00\x01\xff\x00"),
        packet(PUBLISH, 0, struct.pack("!H", 1) + b"a" + b"\xff\xff\xff\x7f"),
        packet(PUBLISH, 6, struct.pack("!H", 1) + b"a\0\0\0"),
        packet(4, 0, b""),
        packet(9, 0, b"\0"),
        packet(14, 0, b"\x05\x01\x02\x03"),
        packet(14, 0, b"\x7f"),
        packet(15, 0, b"\x18\x00"),
        packet(2, 0, b"\x00\x00\x00"),
        packet(0, 0, b""),
    ],
)
def test_packets_that_nobody_can_parse_end_the_connection_at_most(meet: Callable[..., FakeBroker], stop: Stop, data: bytes) -> None:
    """The thread lives, the service too, and what waits is sent on the next connection."""

    def garbled(talk: Talk) -> None:
        if talk.number > 1:
            talk.serve()
        talk.let_in()
        talk.send(data)
        talk.send(b"\xc0\x00" * 3)
        talk.attend()

    fake = meet(garbled)
    stop.outbox().put(Help("press-1", "pressed"))
    until(lambda: "event/help" in fake.topics(), f"the press is sent: {stop.log.read_text()}", 40)
    assert (stop.status() or {})["service"] == "uplink"


def _notified(folder: Path) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(folder / "notify"))
    manager.settimeout(0.2)
    return manager


def _fed(runtime: Runtime, manager: socket.socket) -> bool:
    time.sleep(1.1)  # once a second at most
    runtime.fed()
    try:
        return manager.recv(100) == b"WATCHDOG=1"
    except TimeoutError:
        return False


def test_the_watchdog_is_fed_only_while_all_vital_threads_work(stop: Stop, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs before its first sign of life was not seen: it owed none. Of one that waits for somebody the service is of use
    without, the state says it, and nothing is started again. One that has ended owes nothing."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
    with _notified(folder) as manager:
        runtime, hang = Runtime("uplink", stop.layout, load(stop.layout.config)), Event()
        assert _fed(runtime, manager)
        lane = runtime.spawn("lane", lambda: _hang(hang), -1.0, vital=False)
        assert (runtime.stalled(), _fed(runtime, manager)) == ("lane_stalled", True)
        link = runtime.spawn("link", lambda: _hang(hang), -1.0)
        assert not _fed(runtime, manager)
        hang.set()
        assert runtime.late(lane, link) == []
        assert (runtime.stalled(), _fed(runtime, manager)) == ("", True)


def test_a_heartbeat_counts_until_the_next_is_due(stop: Stop) -> None:
    runtime, hang = Runtime("uplink", stop.layout, load(stop.layout.config)), Event()

    def work(pause_s: float) -> None:
        runtime.beat(pause_s)
        _hang(hang)

    runtime.spawn("link-watch", lambda: work(100.0), -1.0)
    until(lambda: not runtime.stalled(), "its heartbeat counts")
    runtime.spawn("heads", lambda: work(-100.0))
    until(lambda: runtime.stalled() == "heads_stalled", "the next one is late")
    hang.set()


def _hang(until_set: Event) -> None:
    until_set.wait()


def test_a_thread_that_dies_ends_the_service(stop: Stop) -> None:
    runtime = Runtime("uplink", stop.layout, load(stop.layout.config))
    runtime.spawn("link", lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    until(runtime.stop.is_set, "the service ends")
    assert runtime.exit_code == 1


@pytest.mark.slow
def test_a_keeper_that_hangs_is_seen_and_filming_goes_on(node: Node) -> None:
    """Whatever holds the lock of the clips' list, as a process that hangs on a bad disk: deletion stands still, and is said to."""
    service = node.start("camera")
    wait(lambda: node.state("camera") == ("ready", "filming"), "the camera films", 60)
    lock = os.open(node.layout.camera / "clips.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wait(lambda: node.state("camera") == ("degraded", "keeper_stalled"), "the state says so", 120)
        frames = node.status("camera")["detail"]["frames"]
        wait(lambda: node.status("camera")["detail"]["frames"] > frames, "it films on")
    finally:
        os.close(lock)
    wait(lambda: node.state("camera") == ("ready", "filming"), "all is well again")
    assert end(service) == 0
