"""14.A2: what the broker and the inbox bring ends nobody who carries or obeys it, and the sweep does not stand behind it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from agent.inbox.inbox import folder_of
from tests.attacks.inputs import TOKENS
from tests.support.asking import ask
from tests.support.broker import PATIENCE, Broker
from tests.support.clip_node import ClipNode
from tests.support.nodes import Node, until
from tests.support.stop import Stop


@pytest.fixture
def io(stop: Stop) -> Iterator[tuple[Node, subprocess.Popen[bytes]]]:
    """io of the uplink's node."""
    with stop.layout.config.open("a") as file:
        file.write('\n[pins]\nfactory = "mock"\nhelp_button = 17\nhelp_lamp = 27\n')
    node = Node(stop.root, stop.broker.centre.folder)
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "io is ready")
    yield node, service
    service.kill()
    service.wait()


def test_no_message_of_the_broker_ends_the_uplink_or_who_obeys(
    stop: Stop, broker: Broker, io: tuple[Node, subprocess.Popen[bytes]]
) -> None:
    """A header nested 9,000 deep on cmd/ack ended io, on order/1 the camera and all its later starts."""
    node, service = io
    stop.start()
    until(lambda: stop.detail("connected"), "it is connected")
    for number, jws in enumerate(TOKENS, 1):
        for tail in ("cmd/ack", f"order/{number}", "basis/desired", "view/desired", "config/desired", "cert/tls/desired"):
            broker.publish(f"{stop.here}/{tail}", jws)
    until(lambda: sum(stop.detail(f"ignored_{kind}") or 0 for kind in ("commands", "orders", "desired")) > 0, "some was ignored")
    until(lambda: folder_of(stop.layout, "order").exists(), "orders lie in the inbox: there is no camera")
    assert stop.status() is not None
    assert service.poll() is None, node.log()
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
    until(lambda: node.status("io")["detail"]["lamp"] == "blinking", "the lamp blinks")
    assert stop.end() == 0


def test_what_the_inbox_holds_ends_neither_camera_nor_retention(node: Node) -> None:
    """Each is noted and gone; deleting goes on."""
    for what in ("order", "receipt"):
        folder = folder_of(node.layout, what)  # type: ignore[arg-type]
        folder.mkdir(parents=True, exist_ok=True)
        for number, jws in enumerate(TOKENS):
            (folder / f"{number:08}.jws").write_text(jws)
        (folder / "00000097.jws").write_bytes(b"\xff" * 100_000)
        (folder / "00000098.jws").mkdir()
        (folder / "00000099.jws").symlink_to(node.layout.config)
        os.mkfifo(folder / "00000096.jws")
    done = node.run("retention")
    assert done.returncode == 0, done.stderr
    for what in ("orders", "receipts"):
        assert not [*(node.layout.inbox / what).iterdir()]
    said = node.run("journal", "show", "retention", "--last", "99", "--json")
    kinds = [entry["kind"] for entry in json.loads(said.stdout)["entries"]]
    assert {"order_refused", "receipt_refused"} <= set(kinds)
    assert node.run("journal", "verify").returncode == 0


@pytest.mark.parametrize("left", ["first", "again"])
def test_a_file_that_ended_a_process_is_set_aside_before_it_is_read_again(node: Node, left: str) -> None:
    """What a process had in hand when it ended lies under another name: it is tried once more, then never again."""
    folder = folder_of(node.layout, "order")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f".00000007.jws.{left}").write_text(TOKENS[0])
    assert node.run("retention").returncode == 0
    said = node.run("journal", "show", "retention", "--last", "99", "--json")
    noted = {entry["kind"]: entry["facts"].get("file") for entry in json.loads(said.stdout)["entries"]}
    assert noted[{"first": "order_refused", "again": "order_damaged"}[left]] == "00000007.jws"
    assert [path.name for path in folder.iterdir()] == ([] if left == "first" else [".00000007.jws.damaged"])


def test_deadlines_stand_behind_nothing_in_the_inbox(clip_node: ClipNode) -> None:
    """R27: a clip past its time is gone after the first round, however much was left; and a round takes a bounded part of it."""
    clip = clip_node.clip()
    custody = clip_node.custody("retention")
    custody.attend()
    clip_node.clock.runs(timedelta(hours=73))
    folder = folder_of(clip_node.layout, "order")
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(100):
        (folder / f"{number:08}.jws").write_bytes(clip_node.order("hold", clip) if number == 50 else b"rubbish")
    custody.attend()
    assert clip_node.there() == []
    assert 0 < len(list(folder.iterdir())) < 100
    kinds = clip_node.kinds("retention")
    assert kinds.index("clip_expired") < kinds.index("order_refused")


def test_a_stream_of_notes_does_not_keep_the_camera_from_its_sweep(node: Node) -> None:
    """Each head that it is told is an entry; the sweep waited for a moment without one."""
    process = node.start("camera")
    until(lambda: node.state("camera")[0] in ("ready", "off"), "it runs", 120)
    over = threading.Event()

    def tell() -> None:
        while not over.is_set():
            ask(node.layout.socket("camera", "uplink"), {"verb": "heads", "heads": {"io": "0:"}}, timeout=30)

    tellers = [threading.Thread(target=tell) for _ in range(3)]
    for teller in tellers:
        teller.start()
    folder = folder_of(node.layout, "order")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "00000001.jws").write_text(TOKENS[0])
    try:
        until(lambda: not list(folder.iterdir()), "a round was made", 90)
    finally:
        over.set()
        for teller in tellers:
            teller.join()
        process.terminate()
        process.wait(PATIENCE * 20)
