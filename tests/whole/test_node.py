"""The whole node and a small centre, as `make demo` runs them: what arrives, and what a minute without the centre loses."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.demo.run import Demo
from agent.demo.site import NODE, SITE, Ports
from central.fleet.contract.schemas import files
from privacy.records.order import read_answer
from provisioning.identity import load_authority
from tests.support.broker import PATIENCE, free_port, whole_lines
from tests.support.nodes import BIN, MODELS, VIDEO, Node, until


def demo_in(folder: Path) -> Demo:
    """A demo whose broker and ingest may go and come back: on ports that the kernel gives to no connection meanwhile."""
    demo = Demo(folder / "demo", VIDEO, MODELS)
    demo.ports = Ports(free_port(), free_port(), free_port())
    demo.prepare()
    return demo


def heard_by(folder: Path) -> list[tuple[str, str]]:
    """Topic and payload of every message that an operator's mosquitto_sub has received, in order."""
    lines = whole_lines(folder / "logs/messages.log")
    return [(parts[2], parts[3]) for line in lines if len(parts := line.split("\t", 3)) == 4]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("demo") / "out"
    words = [BIN / "lykta", "demo", "--seconds", "25", "--dir", folder, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE * 240, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_the_demo_ends_with_clips_that_the_centre_opened(ran: tuple[Path, dict[str, object]]) -> None:
    folder, summary = ran
    assert summary["schema"] == "lykta.demo/1"
    clips = summary["clips"]
    assert clips["sealed"] == clips["uploaded"] == clips["opened"] >= 1
    assert summary["frames"] >= 50
    assert summary["masked"] > 0
    opened = list(Path(str(summary["clips_dir"])).glob("*.mp4"))
    assert len(opened) == clips["opened"]
    page = (folder / "index.html").read_text()
    assert all(f"stills/{clip.stem}.jpg" in page for clip in opened)
    assert all((folder / "stills" / f"{clip.stem}.jpg").stat().st_size > 5_000 for clip in opened)


def test_every_message_is_what_its_schema_says(ran: tuple[Path, dict[str, object]]) -> None:
    """R15, R44: the documented topics, each payload valid against the generated JSON Schema; the sensors of this node are
    declared; and an event carries words and its time, but no number that could say how many or where."""
    folder, _ = ran
    validator = jsonschema.Draft202012Validator(files()["message"])
    messages = heard_by(folder)
    tails = {topic.removeprefix("lykta/v1/linkoping-demo/stop-1/").split("/")[0] for topic, _ in messages}
    assert {"state", "describe", "health", "event", "alarm", "clip"} <= tails
    for topic, payload in messages:
        if payload and "/cmd/" not in topic:
            validator.validate(json.loads(payload))
    bodies = [(topic, json.loads(payload)["body"]) for topic, payload in messages if payload and "/cmd/" not in topic]
    [sensors] = {tuple(body["sensors"]) for topic, body in bodies if topic.endswith("/describe")}
    assert {"camera: video file", "help button"} <= {*sensors}
    events = [body for topic, body in bodies if "/event/" in topic and body["type"] != "tombstone"]  # numbers of messages
    assert {"help", "presence"} <= {body["type"] for body in events}
    assert [body for body in events if not all(isinstance(value, str) for value in body.values())] == []
    states = [json.loads(payload)["body"]["state"] for topic, payload in messages if topic.endswith("/state")]
    assert "ready" in states
    assert states[-1] == "stopping"
    actions = [json.loads(payload)["body"]["action"] for topic, payload in messages if topic.endswith("event/help")]
    assert actions == ["pressed", "taken"]


def test_verify_says_what_it_checked_and_refuses_what_was_changed(ran: tuple[Path, dict[str, object]]) -> None:
    folder, _ = ran
    clip = next((folder / "store").glob("*/*/*/receipt.jws")).parent
    words = [BIN / "lykta-central", "verify", clip, "--keys", folder / "centre", "--json"]
    good = subprocess.run(words, capture_output=True, text=True, check=True)
    assert any("mask records" in text for text in json.loads(good.stdout)["checked"])
    sealed = bytearray((clip / "clip.age").read_bytes())
    sealed[len(sealed) // 2] ^= 1
    changed = folder / "changed"
    changed.mkdir()
    for name in ("masks.age", "manifest.jws", "receipt.jws"):
        (changed / name).write_bytes((clip / name).read_bytes())
    (changed / "clip.age").write_bytes(sealed)
    bad = subprocess.run([*words[:2], changed, *words[3:]], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "clip.age: sha256" in bad.stderr


def test_a_demo_does_not_empty_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    done = subprocess.run([BIN / "lykta", "demo", "--dir", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_without_broker_and_ingest_nothing_is_lost(folder: Path) -> None:
    """Promise 3: both are killed while clips and events are made; when they are back, all arrive, in one unbroken sequence,
    and the camera frees each clip on its receipt."""
    demo = demo_in(folder)
    node = Node(demo.node, demo.centre)
    node.settings(record__post_roll="1", record__pre_roll="2")
    with ExitStack() as stack:
        centre = demo.start_centre(stack)
        services = {name: demo.start_service(stack, name) for name in ("io", "uplink", "camera")}
        until(lambda: any(topic.endswith("/describe") for topic, _ in heard_by(demo.folder)), "birth")
        until(lambda: node.state("camera") == ("ready", "filming"), "the camera films and hears presses")
        for process in centre.values():
            process.kill()
            process.wait()
        for press in range(3):
            node.trigger(f"press-{press}")
            made = press + 1
            until(lambda made=made: len(node.clips()) >= made, "a clip is sealed without the centre")
        until(lambda: node.status("uplink")["standing"]["reason"] == "broker_unreachable", "the uplink says why")
        assert node.state("camera")[0] == "ready"
        waiting = {clip.name for clip in node.clips()}
        with standing_still(services["uplink"]):
            demo.start_broker(stack)
            demo.start_ingest(stack)
            _second_ear(demo, stack)
        stored = demo.store
        until(lambda: waiting <= {path.parent.name for path in stored.glob("*/*/*/receipt.jws")}, "all clips arrive", 90)
        until(lambda: not waiting & {clip.name for clip in node.clips()}, "the camera frees them", 30)
        until(lambda: node.status("uplink")["detail"].get("pending") == 0, "the outbox is empty", 60)
        until(lambda: _unbroken(heard_by(demo.folder)), "the sequence is whole", 20)


def test_an_order_of_the_centre_is_obeyed_by_the_running_node_and_answered(folder: Path) -> None:
    """R29, R32, R33b: signed at the centre, retained at the broker, obeyed by the camera, answered and signed; and the heads
    of all journals are told, noted by the other units, and hold."""
    demo = demo_in(folder)
    node = Node(demo.node, demo.centre)
    node.settings(record__post_roll="1", record__pre_roll="2")
    with ExitStack() as stack:
        # No ingest: the clip would be uploaded and gone before the order comes.
        demo.start_centre(stack)["ingest"].kill()
        for name in ("io", "uplink", "camera"):
            demo.start_service(stack, name)
        until(lambda: node.state("camera")[0] == "ready", "the camera films", 40)
        node.trigger()
        # Whoever walks by on the video has clips, too.
        clip = until(node.clips, "a clip is sealed", 40)[0]
        _central("sign", "order", _order(folder, clip.name), "--keys", demo.centre, "-o", folder / "order.jws")
        where = f"127.0.0.1:{demo.ports.operators}"
        _central("send", demo.centre, f"{SITE}/{NODE}", "order", "--file", folder / "order.jws", "--broker", where)
        until(lambda: _said(demo, "rsp/order-1"), "the order is answered", 40)
        until((clip / "hold.jws").exists, "the clip is held")
        until(lambda: {"camera", "io", "uplink"} <= set(_said(demo, "journal").get("heads", {})), "the heads are told", 60)
        until(lambda: "heads" in _kinds(node, "io") and "heads" in _kinds(node, "camera"), "the others note them", 100)
    answer = read_answer(_said(demo, "rsp/order-1")["jws"].encode(), load_authority(node.layout))
    assert (answer.result, answer.clips, answer.unit) == ("done", (clip.name,), "camera")
    verified = json.loads(node.run("journal", "verify", "--json").stdout)
    assert verified["heads_held"] >= 3
    assert "order" in _kinds(node, "camera")


def _order(folder: Path, clip: str) -> Path:
    """A hold on that clip, as ops fill in the example."""
    example = json.loads(_central("sign", "order", "--example", f"{SITE}/{NODE}"))
    for name in ("since", "to"):
        example.pop(name, None)
    path = folder / "order.json"
    path.write_text(json.dumps(example | {"clips": [clip], "decided": "Anna Ek"}))
    return path


def _central(*words: str | Path) -> str:
    return subprocess.run([BIN / "lykta-central", *words], capture_output=True, text=True, check=True).stdout


def _said(demo: Demo, tail: str) -> dict[str, Any]:
    """The last body heard at a topic, {} before the first."""
    heard = [payload for topic, payload in heard_by(demo.folder) if topic == f"lykta/v1/{SITE}/{NODE}/{tail}" and payload]
    return dict(json.loads(heard[-1])["body"]) if heard else {}


def _kinds(node: Node, unit: str) -> set[str]:
    entries = json.loads(node.run("journal", "show", unit, "--last", "999", "--json").stdout)["entries"]
    return {entry["kind"] for entry in entries}


@contextmanager
def standing_still(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _second_ear(demo: Demo, stack: ExitStack) -> None:
    """It listens before the uplink is back: a broker that was killed remembers no subscription."""
    tool = ["stdbuf", "-oL", "mosquitto_sub", "-d", *demo.operator_options(), "-t", "lykta/v1/#", "-F", "%U\t%r\t%t\t%p"]
    demo.start(stack, "messages", tool)
    until(lambda: "received SUBACK" in (demo.logs / "messages.log").read_text(), "it has subscribed")


def _unbroken(messages: list[tuple[str, str]]) -> bool:
    """Every number from the first to the last was heard, or a tombstone says why it is not."""
    heard = [json.loads(payload) for _, payload in messages if payload.startswith("{")]
    seen = {message["envelope"]["seq"] for message in heard}
    for message in heard:
        for first, last in message["body"].get("ranges", ()):
            seen |= set(range(first, last + 1))
    return bool(seen) and seen == set(range(min(seen), max(seen) + 1))
