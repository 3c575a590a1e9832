"""Every command from `lykta-central send` to its answer: real services, a real broker, a real ingest (17.6)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.demo.processes import tool
from agent.demo.run import Demo
from agent.demo.site import NODE, SITE
from agent.messages import CommandAnswer, Describe
from central.keys.keygen import authority
from privacy.errors import LyktaError
from privacy.records.command_table import COMMANDS
from privacy.records.journal import Entry
from privacy.records.jws import peek
from privacy.records.manifest import MANIFEST, Manifest, read_receipt
from tests.support.asking import ask
from tests.support.broker import NAME, Broker, until
from tests.support.clips import central
from tests.support.commanding import now_ms, ordered
from tests.support.ingests import Ingest, settings
from tests.support.nodes import MODELS, VIDEO, Node
from tests.support.nodes import stop as end
from tests.support.stop import LYKTA, Stop

HERE = f"{SITE}/{NODE}"


@dataclass
class Said:
    """What `send --json` printed, and its exit code."""

    code: int
    facts: dict[str, Any]

    @property
    def results(self) -> list[str]:
        return [one["result"] for one in self.facts["answers"]]

    @property
    def last(self) -> tuple[str, str]:
        return self.facts["result"], self.facts["reason"]


def sent(keys: Path, address: str, node: str, name: str, *, wait: int = 60, **args: object) -> Said:
    words = [word for key, value in args.items() for word in ("--arg", f"{key}={value}")]
    done = central("send", keys, node, name, "--broker", address, "--wait", str(wait), "--json", *words)
    assert done.stdout, done.stderr
    return Said(done.returncode, json.loads(done.stdout))


def entries(layout: Any, unit: str, kind: str) -> list[dict[str, Any]]:
    """Facts of the journal's entries of that kind, oldest first."""
    found: list[dict[str, Any]] = []
    for path in sorted(layout.journal(unit).glob("*.jws")):
        lines = [peek(line, "lykta-journal", Entry) for line in path.read_bytes().splitlines()]
        found += [dict(one.facts) for one in lines if one.kind == kind]
    return found


# -- uplink and io -----------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """io and uplink of one stop as processes, which are started again when they end, as systemd does."""

    stop: Stop
    node: Node
    keys: Path
    address: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_io(self) -> None:
        with (self.stop.root / "io.log").open("ab") as log:
            self.started.append(subprocess.Popen([LYKTA, "--root", self.stop.root, "io"], stdout=log, stderr=log))
        until(lambda: self.node.state("io")[0] == "ready", "io is ready")

    def send(self, name: str, *, wait: int = 60, **args: object) -> Said:
        return sent(self.keys, self.address, NAME, name, wait=wait, **args)

    def give(self, token: bytes, name: str = "ping") -> None:
        """As anybody who has the broker can."""
        self.stop.broker.publish(f"{self.stop.here}/cmd/{name}", token.decode())

    def ordered(self, which: str, words: dict[str, str], **changes: Any) -> bytes:
        return ordered(self.keys, NAME, which, words, **changes)


@pytest.fixture
def place(stop: Stop, broker: Broker, folder: Path, ingest_port: int) -> Iterator[Place]:
    with stop.layout.config.open("a") as file:
        file.write('\n[pins]\nfactory = "mock"\nlight = 6\n')
    settings(stop.layout.config, what='"nothing"')
    place = Place(stop, Node(stop.root, broker.centre.folder), broker.centre.folder, f"127.0.0.1:{broker.operators}")
    place.start_io()
    ingest = Ingest(broker.centre, folder / "store", ingest_port)
    stop.start()
    until(lambda: stop.detail("connected"), "the uplink is connected")
    yield place
    for one in place.started:
        if one.poll() is None:
            end(one)
    ingest.close()


def test_the_uplink_pings_is_born_again_and_sends_what_it_is_asked_for(place: Place, broker: Broker, folder: Path) -> None:
    """ping, rebirth, upload, diag, journal: done says that it is done, at the broker and in the centre's store."""
    stop, store = place.stop, folder / "store" / NAME
    with broker.ear() as heard:
        until(lambda: stop.messages(heard(), "describe"), "the node describes itself")
        described = stop.messages(heard(), "describe")[0].body
        assert isinstance(described, Describe)
        assert described.commands.keys() == COMMANDS.keys()
        assert described.commands["pause"] == {"minutes": "1..480"}
        said = place.send("ping")
        assert (said.code, said.results) == (0, ["done"])
        births = len(stop.messages(heard(), "state"))
        assert place.send("rebirth").code == 0
        until(lambda: len(stop.messages(heard(), "describe")) == 2, "it describes itself again")
        until(lambda: len(stop.messages(heard(), "state")) > births, "it says its state again")
    clip = stop.seal_clip(1000, "presence")
    stop.neighbour("camera")
    assert place.send("upload", clip="01890000-0000-7000-8000-0000000000ff").last == ("refused", "no_such_clip")
    said = place.send("upload", clip=clip)
    assert (said.code, said.results, said.facts["answers"][-1]["ref"]) == (0, ["accepted", "running", "done"], clip)
    assert read_receipt((store / clip / "receipt.jws").read_bytes(), authority(place.keys)).id == clip
    said = place.send("diag")
    assert (said.code, said.results) == (0, ["accepted", "done"])
    diag = store / "diag" / said.facts["answers"][-1]["ref"]
    until((diag / "receipt.jws").exists, "the diagnosis is in the store")
    assert json.loads((diag / "diag.json").read_text())["services"]["io"]["standing"]["state"] == "ready"
    for unit in ("uplink", "io"):
        assert place.send("journal", service=unit).last == ("done", "")

    receipts = [store / f"journal/{unit}/0000000000.receipt.jws" for unit in ("uplink", "io")]
    until(lambda: all(one.exists() for one in receipts), "both segments are in the store", 90)
    assert {one["command"] for one in entries(stop.layout, "uplink", "command")} == {"ping", "rebirth", "upload", "diag", "journal"}


def test_a_service_ends_itself_and_answers_when_it_is_back(place: Place) -> None:
    """restart: accepted, then done by the new process; io not while a call is open; log-level lasts its minutes."""
    stop = place.stop
    with stop.broker.ear() as heard:
        # io alone opens its outbox: its answers leave when it is back.
        said = place.send("restart", service="io", wait=1)
        assert said.code == 4
        assert place.started[0].wait(30) == 0
        place.start_io()
        answer = until(lambda: stop.messages(heard(), f"rsp/{said.facts['id']}")[1], "the new process answers").body
        assert isinstance(answer, CommandAnswer)
        assert (answer.result, answer.reason) == ("done", "")
    io = place.started[1]
    ask(place.node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
    until(lambda: place.node.status("io")["detail"]["call"] == "open", "a call is open")
    said = place.send("restart", service="io")
    assert (said.code, said.last) == (1, ("refused", "call_open"))
    assert io.poll() is None
    assert place.send("ack").code == 0
    assert place.send("restart", service="io").last == ("refused", "call_open"), "its lamp is steady: the person still waits"
    assert stop.process
    assert "debug uplink" not in stop.log.read_text()
    assert place.send("log-level", service="uplink", level="debug", minutes=1).code == 0
    ask(stop.layout.socket("uplink", "ctl"), {"verb": "outbox"})
    until(lambda: "debug uplink: request outbox" in stop.log.read_text(), "requests are logged")
    until(lambda: "debug uplink: sent topic=rsp\n" in stop.log.read_text(), "messages are logged, without ids")
    said = place.send("restart", service="uplink", wait=2)
    assert (said.code, said.results) == (4, ["accepted"])
    assert stop.process.wait(30) == 0
    with stop.broker.ear() as heard:
        stop.start()
        answer = until(lambda: stop.messages(heard(), f"rsp/{said.facts['id']}")[0], "the new process answers").body
        assert isinstance(answer, CommandAnswer)
        assert (answer.result, answer.reason) == ("done", "")
    assert "debug uplink" not in stop.log.read_text().rpartition("broker: connected")[2]


@pytest.mark.parametrize(
    ("name", "args", "changes", "reason", "answered"),
    [
        ("ping", {}, {"boot_id": "00000000-0000-0000-0000-000000000000"}, "other_boot", False),
        ("ping", {}, {"number": 1}, "repeated", False),
        ("ping", {}, {"node": "stop-2"}, "not_verified", False),
        ("ping", {}, {"end_ms": 1}, "expired", True),
        ("ping", {}, {"end_ms": 2**52}, "too_long", True),
        ("ping", {"loud": "yes"}, {}, "arguments", True),
        ("journal", {"service": "all"}, {}, "arguments", True),
        ("log-level", {"service": "uplink", "level": "debug", "minutes": "61"}, {}, "arguments", True),
        ("reboot", {}, {}, "unknown", True),
    ],
)
def test_what_may_not_be_obeyed_is_refused_with_its_reason(
    place: Place, name: str, args: dict[str, str], changes: dict[str, Any], reason: str, answered: bool
) -> None:
    stop = place.stop
    with stop.broker.ear() as heard:
        place.give(place.ordered("ping", {}))
        until(lambda: any(one.tail.startswith("rsp/") for one in heard()), "the first one is obeyed")
        before = stop.detail("commands_refused")
        place.give(place.ordered(name, args, **changes), name)
        until(lambda: stop.detail("commands_refused") == before + 1, "the refusal is counted")
        place.give(place.ordered("ping", {}))
        until(lambda: len(answers(heard)) == 2 + answered, "the next one is obeyed")
        assert [one for one in answers(heard) if one[0] != "done"] == ([("refused", reason)] if answered else [])
    kind = "command" if answered else "command_refused"
    assert [one["reason"] for one in entries(stop.layout, "uplink", kind) if one["reason"]] == [reason]


def answers(heard: Any) -> list[tuple[str, str]]:
    bodies = [json.loads(one.payload)["body"] for one in heard() if one.tail.startswith("rsp/")]
    return [(body["result"], body["reason"]) for body in bodies]


def test_a_replay_and_a_forged_command_do_nothing(place: Place) -> None:
    """Whoever has the broker can keep, repeat, delay and change what it carries."""
    stop, token = place.stop, place.ordered("ping", {})
    head, signature = token.rsplit(b".", 1)
    forged = b".".join((head, signature[:8] + b"AAAA" + signature[12:]))
    with stop.broker.ear() as heard:
        for one in (token, token, forged, token):
            place.give(one)
        until(lambda: stop.detail("commands_refused") == 3, "two replays and the forged one are refused")
        assert answers(heard) == [("done", "")]
        assert stop.end() == 0
        stop.start()
        until(lambda: stop.detail("connected"), "it is back")
        place.give(token)
        until(lambda: stop.detail("commands_refused") == 1, "also after a restart of the uplink")
        assert answers(heard) == [("done", "")]


def test_a_node_that_is_lost_gets_no_command(place: Place) -> None:
    """Exit 4 at once: a command for it would be over when it is back."""
    stop = place.stop
    with stop.broker.ear() as heard:
        assert stop.process
        stop.process.kill()
        until(lambda: stop.messages(heard(), "state")[-1].body.state == "lost", "the broker says that it is lost", 60)
        done = central("send", place.keys, NAME, "ping", "--broker", place.address)
        assert (done.returncode, "is not connected" in done.stderr) == (4, True)
        assert not [one for one in heard() if one.tail.startswith("cmd/")]


# -- camera ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    made = Demo(tmp_path_factory.mktemp("demo") / "demo", VIDEO, MODELS)
    made.prepare()
    made.broker_files()
    return made


class Filmed:
    """Camera and uplink of a node at a real broker."""

    def __init__(self, demo: Demo, stack: ExitStack) -> None:
        self.demo, self.stack, self.node = demo, stack, Node(demo.node, demo.centre)
        demo.start_broker(stack)
        self.uplink = demo.start_service(stack, "uplink")
        self.start()

    def told(self) -> tuple[str, str, str]:
        """State, reason and owner of the node as they stand at the broker."""
        where = ["-C", "1", "-W", "20", "-t", f"lykta/v1/{HERE}/state"]
        done = subprocess.run([tool("mosquitto_sub"), *self.demo.operator_options(), *where], capture_output=True, check=False)
        body = json.loads(done.stdout or b"{}").get("body", {})
        return body.get("state", ""), body.get("reason", ""), body.get("owner", "")

    def start(self) -> None:
        self.camera = self.demo.start_service(self.stack, "camera")

    def send(self, name: str, *, wait: int = 60, **args: object) -> Said:
        return sent(self.demo.centre, f"127.0.0.1:{self.demo.ports.operators}", HERE, name, wait=wait, **args)


def test_the_camera_records_pauses_and_comes_back(demo: Demo) -> None:
    """clip begins with the pre-roll and is a clip as any other; a pause outlives a restart, and ends by resume or by itself."""
    with ExitStack() as stack:
        filmed = Filmed(demo, stack)
        node = filmed.node
        until(lambda: node.state("camera") == ("ready", "filming"), "it films", 60)
        until(lambda: node.status("uplink")["detail"]["connected"], "the uplink is connected")
        said = filmed.send("clip", seconds=2)
        assert (said.code, said.results) == (0, ["accepted", "running", "done"])
        [manifest] = [
            peek(path.read_bytes(), MANIFEST, Manifest)
            for path in node.layout.spool.glob(f"{said.facts['answers'][-1]['ref']}/manifest.jws")
        ]
        assert (manifest.state, manifest.trigger) == ("complete", "command")
        assert filmed.send("resume").last == ("refused", "not_paused")
        assert filmed.send("pause", minutes=5).last == ("done", "")
        until(lambda: node.state("camera") == ("off", "paused"), "it is off")
        assert node.status("camera")["standing"]["until"]
        until(lambda: filmed.told() == ("off", "paused", "ops"), "the centre hears it")
        assert filmed.send("clip").last == ("refused", "paused")
        said = filmed.send("restart", service="camera", wait=1)
        assert said.results[:1] == ["accepted"]
        assert filmed.camera.wait(60) == 0
        filmed.start()
        until(lambda: node.state("camera") == ("off", "paused"), "it is still paused", 60)
        assert filmed.send("resume").last == ("done", "")
        until(lambda: node.state("camera") == ("ready", "filming"), "it films again", 60)
        assert end(filmed.camera) == 0
        # The rest of a pause that was begun before: three seconds.
        node.layout.pause.write_text(json.dumps({"boot_id": manifest.boot_id, "until_ms": now_ms() + 3_000}))
        filmed.start()
        until(lambda: node.state("camera") == ("ready", "filming"), "it films by itself", 60)
        assert [one["reason"] for one in entries(node.layout, "camera", "pause_over")] == ["resumed", "time"]
        done = [(one["command"], one["result"]) for one in entries(node.layout, "camera", "command")]
        assert [one for one in done if one[1] == "done"] == [
            ("clip", "done"), ("pause", "done"), ("restart", "done"), ("resume", "done")
        ]  # fmt: skip


def test_out_of_hours_no_command_opens_the_lens(node: Node) -> None:
    node.sign("basis", hours=[])
    camera = node.start("camera")
    until(lambda: node.state("camera") == ("off", "outside_hours"), "it is off", 60)
    for name, args in (("clip", {}), ("resume", {})):
        token = ordered(node.centre, HERE, name, args)
        with pytest.raises(LyktaError, match="outside_hours" if name == "clip" else "not_paused"):
            ask(node.layout.socket("camera", "uplink"), {"verb": "command", "name": name, "jws": token.decode()})
    assert node.state("camera") == ("off", "outside_hours")
    assert end(camera) == 0
