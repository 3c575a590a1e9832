"""14.A2: what a neighbour, or whoever took it over, answers to a technician's command is shown, or named as no answer."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from agent.messages import Help
from agent.outbox.outbox import Outbox
from agent.uplink.survey import survey
from drivers.clock import SystemClock
from tests.support.broker import listens
from tests.support.clip_node import ClipNode
from tests.support.clip_node_commands import lykta

ANSWERS = [
    b"{}",
    b"[]",
    b'{"classes":5}',
    b'{"classes":[{}],"file_bytes":0,"dropped":{},"next":[],"unreachable":{}}',
    b'{"classes":[],"file_bytes":0,"dropped":[],"next":[{}],"unreachable":1}',
    b'{"message":[1]}',
    b'{"outbox":"io","seq":1,"topic":"x","retain":true,"expiry_s":null,"message":{"a":1}}',
]


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Something in a service's place that gives everybody the same answer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(path))
        door.listen()
        over = Event()

        def serve() -> None:
            while not over.is_set():
                line, _ = door.accept()
                with line:
                    if line.recv(65536):
                        line.sendall(answer + b"\n")

        thread = Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            assert listens(path), "once more, so that it sees that it is over"
            thread.join()
    path.unlink()


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_of_another_form_is_none(clip_node: ClipNode, answer: bytes) -> None:
    """`lykta outbox` ended in a traceback."""
    with answering(clip_node.layout.socket("uplink", "ctl"), answer):
        for words in (["outbox", "list"], ["outbox", "show", "1"]):
            done = lykta(clip_node, *words)
            assert (done.returncode, "Traceback" in done.stderr) == (4, False), (words, done.stderr)
            assert "uplink: does not answer" in done.stderr
            assert "hint: " in done.stderr


def test_a_message_of_an_impossible_time_is_listed(tmp_path: Path) -> None:
    """Whoever may write into the outbox chose a year that no calendar has: then nobody could list what waits."""
    outbox = Outbox(tmp_path / "state.db", "city", "stop-1", SystemClock("host"))
    try:
        outbox.put(Help("a", "pressed"))
        with sqlite3.connect(tmp_path / "state.db") as database:
            database.execute(f"UPDATE messages SET put_ms = {2**53 - 1}")
        listed = survey({"node": outbox})
        assert [one.put for one in listed.next] == [None]
        assert [row.rows for row in listed.classes if row.rows] == [1]
    finally:
        outbox.close()
