"""Floods are bounded where they arrive (14.A3): packets, lanes, inbox, root's runs, notes in journals."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from queue import Queue

import psutil
import pytest

from agent.root.apply_rate import FORGOTTEN_S, ApplyRate
from drivers.mqtt.packet_limits import MOST_PACKET
from privacy.records.journal import segments
from tests.support.asking import ask
from tests.support.broker import HERE, PATIENCE, Broker, until
from tests.support.fake_broker import FakeBroker, Talk
from tests.support.nodes import BIN, Node
from tests.support.nodes import stop as end
from tests.support.nodes import until as wait
from tests.support.stop import MOST_MB, Stop

KIND = {"basis": "lykta-basis", "config": "lykta-config"}


def serve_after(talk: Talk, flood: Callable[[Talk], None]) -> None:
    """Let the client in, flood it, then do what it asks."""
    talk.let_in()
    flood(talk)
    talk.attend()


def test_the_longest_packet_is_announced_and_a_longer_one_is_not_read(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """A broker that breaks its word costs the connection, and no memory: 200 MB are not even begun to be read."""

    def liar(talk: Talk) -> None:
        if talk.number > 1:
            talk.serve()
        talk.let_in()
        talk.send(b"\x30" + b"\x80\x80\x80\x60")
        while True:
            talk.send(b"x" * 65536)

    fake = meet(liar)
    until(lambda: fake.heard, "the uplink came")
    assert b"\x27" + MOST_PACKET.to_bytes(4, "big") in fake.heard[0].body, "Maximum Packet Size stands in CONNECT"
    until(lambda: (stop.detail("breaks") or {}).get("packet_too_large"), "the connection ended, with its cause")
    until(lambda: stop.detail("connected"), "the next one stands")
    assert stop.peak_mb() < MOST_MB


def test_what_is_no_signed_text_reaches_nobody(stop: Stop, broker: Broker) -> None:
    """65,536 bytes 0xFF became 196,608 on their way to root, which refused them, and they were left again, for ever."""
    io = stop.neighbour("io")
    stop.start()
    until(lambda: f"{stop.here}/order/#" in broker.log.read_text(), "the uplink has subscribed")
    for tail in ("basis/desired", "view/desired", "config/desired", "cert/tls/desired", "order/7", "cmd/ack"):
        words = ["mosquitto_pub", *broker.options(), "-q", "1", "-t", f"{stop.here}/{tail}", "-s"]
        assert subprocess.run(words, input=b"\xff" * 65_536, check=True).returncode == 0
    until(lambda: stop.detail("ignored_desired") == 4, "records are counted")
    until(lambda: (stop.detail("ignored_orders"), stop.detail("ignored_commands")) == (1, 1), "order and command too")
    assert not list(stop.layout.desired.glob("*"))
    assert not list(stop.layout.inbox.glob("orders/*"))
    assert io.commands == []


def junk(number: int) -> bytes:
    """Shaped as a record, another one each time, signed by nobody."""
    return b"eyJhbGciOiJFUzI1NiJ9.%064d.c2ln" % number


def test_a_flood_of_junk_records_costs_root_few_runs(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """Five a second cost 20 s of root's time in 30 s: each was left, and each cost a start. Here those are counted."""
    sent: Queue[int] = Queue()

    def flood(talk: Talk) -> None:
        talk.let_in()
        talk.answer(talk.packet())
        while (number := sent.get()) >= 0:
            talk.publish(f"{HERE}/config/desired".encode(), junk(number))

    meet(flood)
    judged = set()
    for number in range(12):
        sent.put(number)
        if not number:
            until((stop.layout.desired / "config.jws").exists, "the first was left")
        subprocess.run([BIN / "lykta", "--root", stop.root, "apply"], capture_output=True, check=False)
        judged.add(json.loads((stop.layout.applied / "config.json").read_text())["desired"])
    sent.put(-1)
    assert len(judged) <= 8, "of twelve: the rest wait, the newest for all"


def test_roots_runs_grow_rare_while_they_change_nothing() -> None:
    """Whoever has the uplink leaves what he likes, always: a run lasts until the next may begin. Without a clock of its own."""
    runs, now_s, count = ApplyRate(), 1_000_000.0, 0
    while now_s < 1_000_000.0 + 24 * 3600:
        runs, count = runs.after(now_s, useful=False), count + 1
        now_s += 1.0 + runs.pause_s
    assert count < 24 * 15, "against 86,400"
    assert runs.after(now_s, useful=True).pause_s < 1, "one of use begins anew"
    assert runs.after(now_s + 2 * FORGOTTEN_S, useful=False).pause_s < 1, "so does silence"
    assert runs.after(now_s - 2 * FORGOTTEN_S, useful=False).pause_s < 1, "a clock that was set costs nothing"


def test_apply_notes_runs_that_changed_nothing(stop: Stop) -> None:
    """What lies in force already counts as nothing new: else it could be left again and again."""
    words = [BIN / "lykta", "--root", stop.root, "apply", "--paced"]
    stop.layout.desired.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        (stop.layout.desired / "config.jws").write_bytes(junk(number))
        done = subprocess.run(words, capture_output=True, check=False, timeout=PATIENCE * 60)
        assert done.returncode == 1
        assert json.loads((stop.layout.applied / "runs.json").read_text())["useless"] == number + 1
    (stop.layout.desired / "config.jws").unlink(missing_ok=True)
    stop.layout.desired.rmdir()
    stop.layout.desired.symlink_to(stop.root)
    done = subprocess.run(words, capture_output=True, check=False, timeout=PATIENCE * 60)
    assert b"must be a folder, not a link" in done.stderr
    assert json.loads((stop.layout.applied / "runs.json").read_text())["useless"] == 4, "a run that failed counts too"


def test_orders_for_a_camera_that_is_away_are_bounded(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    """In files and bytes; what has no room stands retained, and the ingest names it again."""

    def flood(talk: Talk) -> None:
        for number in range(1, 1500):
            talk.publish(f"{HERE}/order/{number}".encode(), junk(number))
            if not number % 100:
                least = min(512, number - 5)
                until(lambda least=least: len(list(stop.layout.inbox.glob("orders/*"))) >= least, "they are taken")
        talk.publish(f"{HERE}/cmd/unheard".encode(), b"the last one")

    meet(lambda talk: serve_after(talk, flood))
    until(lambda: stop.detail("ignored_commands"), "the flood is over", 60)
    until(lambda: len(list(stop.layout.inbox.glob("orders/*"))) + (stop.detail("ignored_orders") or 0) == 1499, "all were judged")
    assert len(list(stop.layout.inbox.glob("orders/*.jws"))) == 512
    assert stop.peak_mb() < MOST_MB


def test_commands_that_flood_a_lane_are_counted_and_the_log_stays_short(meet: Callable[..., FakeBroker], stop: Stop) -> None:
    def flood(talk: Talk) -> None:
        for number in range(3000):
            talk.publish(f"{HERE}/cmd/ack".encode(), b"x" * 30_000)
            talk.publish(f"{HERE}/cmd/unheard-{number}".encode(), b"")

    meet(lambda talk: serve_after(talk, flood))
    until(lambda: (stop.detail("ignored_commands") or 0) == 6000, f"all are counted: {stop.detail('ignored_commands')}", 60)
    assert len(stop.log.read_text().splitlines()) < 100
    assert stop.peak_mb() < MOST_MB + 10


def _entries(node: Node, unit: str, kind: str) -> int:
    said = json.loads(node.run("journal", "show", unit, "--last", "1000", "--json").stdout)
    return sum(entry["kind"] == kind for entry in said["entries"])


@pytest.mark.parametrize("unit", ["io", "camera"])
def test_false_heads_are_hearsay_and_come_once_an_hour(node: Node, unit: str) -> None:
    """Whoever has the uplink made an honest chain fail `verify`, and the card take 38 GB a day."""
    service = node.start(unit)
    wait(lambda: node.state(unit)[0] == "ready", "ready", 60)
    door, written = node.layout.socket(unit, "uplink"), psutil.Process(service.pid)
    other = "camera" if unit == "io" else "io"
    false = {other: "900:" + "a" * 64, "kitchen": "7:" + "b" * 64, unit: "5:" + "c" * 64}
    assert ask(door, {"verb": "heads", "heads": false}) == {"noted": 1}
    before = sum(path.stat().st_size for path in segments(node.layout.journal(unit)))
    for _ in range(200):
        assert ask(door, {"verb": "heads", "heads": false}) == {"noted": 0}
    assert written.is_running()
    wait(lambda: _entries(node, unit, "heads") == 1, "one is noted")
    assert end(service) == 0
    assert sum(path.stat().st_size for path in segments(node.layout.journal(unit))) < before + 10_000
    if unit == "io":  # The camera has a chain that they could be about.
        camera = node.start("camera")
        wait(lambda: node.state("camera")[0] == "ready", "ready", 60)
        assert end(camera) == 0
    done = node.run("journal", "verify", "--json")
    assert done.returncode == 0, done.stderr
    claims = json.loads(done.stdout)["claims"]
    assert len(claims) == 1
    assert claims[0].startswith(f"{unit} entry ")
    checked = node.run("check", "journal", "--json")
    assert (checked.returncode, "claims" in checked.stdout) == (0, True)
