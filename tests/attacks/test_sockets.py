"""14.A2: sockets, datagrams, lanes, inbox, and the ingest's answers: whatever comes is refused, and the service goes on.

The services are real processes; every attack is followed by an honest request.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.attacks.inputs import ANSWERS, DATAGRAMS, LINES
from tests.support.asking import ask
from tests.support.broker import PATIENCE
from tests.support.nodes import Node, stop, until
from tests.support.stop import Stop


def say(path: Path, line: bytes) -> bytes:
    """What a service answers to a line of anything; b"" if it hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(PATIENCE * 30)
        caller.connect(str(path))
        try:
            caller.sendall(line + b"\n")
            caller.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: caller.recv(65536), b""))
        except (BrokenPipeError, ConnectionResetError):
            return b""


def shout(path: Path, data: bytes) -> None:
    until(path.exists, "the service hears datagrams")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.sendto(data, str(path))


def refused(path: Path, line: bytes) -> bool:
    answer = say(path, line)
    return answer == b"" or "error" in json.loads(answer)


def assault(path: Path, process: subprocess.Popen[bytes], log: Callable[[], str]) -> None:
    for line in LINES:
        assert refused(path, line) or b'"press"' in line, line[:80]
        assert process.poll() is None, (line[:80], log())


@contextmanager
def dripping(path: Path, what: bytes) -> Iterator[list[int]]:
    """Something in a service's place that says `what` piece by piece, to everybody, without end. Yields who asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    over, asked, threads = threading.Event(), [0], []

    def drip(line: socket.socket) -> None:
        with line:
            while not over.wait(0.3):
                try:
                    line.sendall(what)
                except OSError:
                    return

    def serve() -> None:
        while not over.is_set():
            try:
                line, _ = door.accept()
            except TimeoutError:
                continue
            asked[0] += 1
            threads.append(threading.Thread(target=drip, args=(line,)))
            threads[-1].start()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(path))
        door.listen(64)
        door.settimeout(0.1)
        threads.append(threading.Thread(target=serve))
        threads[0].start()
        yield asked
        over.set()
        for thread in threads.copy():
            thread.join()


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[int]]:
    """Something in a service's place that gives this answer to everybody. Yields how often it was asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    over, asked = threading.Event(), [0]

    def serve() -> None:
        while not over.is_set():
            try:
                line, _ = door.accept()
            except TimeoutError:
                continue
            with line:
                asked[0] += 1
                try:
                    line.recv(65536)
                    line.sendall(answer)
                except OSError:
                    continue

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(path))
        door.listen(64)
        door.settimeout(0.1)
        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        over.set()
        thread.join()


@pytest.fixture
def io(node: Node) -> Iterator[tuple[Node, subprocess.Popen[bytes]]]:
    process = node.start("io")
    until(lambda: node.state("io") == ("ready", "listening"), "io is ready")
    yield node, process
    process.kill()
    process.wait(PATIENCE * 10)


def press(node: Node) -> None:
    """Help goes on."""
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"}, timeout=20)
    until(lambda: node.status("io").get("detail", {}).get("lamp") == "blinking", "the lamp blinks")


# -- what a service is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ctl", "uplink"])
def test_help_goes_on_whatever_io_is_asked(io: tuple[Node, subprocess.Popen[bytes]], name: str) -> None:
    node, process = io
    assault(node.layout.socket("io", name), process, node.log)
    press(node)
    assert stop(process) == 0


def test_the_camera_goes_on_whatever_it_is_asked(node: Node) -> None:
    """On all three sockets and by datagram; then it obeys, rests or films as before."""
    process = node.start("camera")
    until(lambda: node.state("camera")[0] == "ready", "it films", 120)
    for name in ("ctl", "uplink", "setup/setup"):
        path = node.layout.run / "camera" / f"{name}.sock"
        if path.exists():
            assault(path, process, node.log)
    for data in DATAGRAMS:
        shout(node.layout.trigger, data)
    node.trigger("press-1")
    until(node.clips, "a press is filmed")
    assert process.poll() is None, node.log()
    assert stop(process) == 0


def test_help_goes_on_whatever_the_camera_says(io: tuple[Node, subprocess.Popen[bytes]]) -> None:
    node, process = io
    for data in DATAGRAMS:
        shout(node.layout.presence, data)
    shout(node.layout.presence, b'{"kind":"waiting","id":"","t_ms":1}')
    press(node)
    assert stop(process) == 0


def test_slow_callers_keep_nobody_out(io: tuple[Node, subprocess.Popen[bytes]]) -> None:
    """A hundred that say nothing, that stop in the middle, and that take no answer: the next one is served."""
    node, process = io
    path = node.layout.socket("io", "ctl")
    with ExitStack() as open_lines:
        for number in range(99):
            line = open_lines.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            line.settimeout(PATIENCE * 20)
            until(lambda line=line: line.connect_ex(str(path)) == 0, "it is let in")  # type: ignore[misc]
            with suppress(BrokenPipeError):  # it was let go already
                line.sendall((b"", b'{"verb":', b'{"verb":"status"}\n')[number % 3])
        press(node)
    assert stop(process) == 0


def test_a_byte_now_and_then_is_no_request(io: tuple[Node, subprocess.Popen[bytes]]) -> None:
    """The whole exchange has a deadline: who drips is let go, and hears so by the line's end."""
    node, process = io
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(str(node.layout.socket("io", "ctl")))
        line.settimeout(0.2)

        def let_go() -> bool:
            try:
                line.sendall(b" ")
                return line.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        until(let_go, "it is let go")
    press(node)
    assert stop(process) == 0


# -- what a service answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [b" ", b"[", b"\n "], ids=["space", "bracket", "line"])
def test_a_service_that_drips_holds_up_no_command(node: Node, what: bytes) -> None:
    """`lykta status` and `lykta link` ended never: each byte began a new pause."""
    with ExitStack() as places:
        for name in ("camera", "io", "uplink"):
            places.enter_context(dripping(node.layout.socket(name, "ctl"), what))
        assert node.run("status", "--json").returncode == 4
        assert node.run("link", "--dry-run").returncode == 0
        assert node.run("check", "services").returncode == 1


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: repr(answer[:24]))
def test_nonsense_for_an_answer_is_no_answer(node: Node, answer: bytes) -> None:
    """Said in a sentence with a hint, without a traceback."""
    with answering(node.layout.socket("io", "ctl"), answer):
        for words, code in ((("status",), 4), (("check", "services"), 1), (("help-test",), 4)):
            done = node.run(*words)
            assert "Traceback" not in done.stderr, done.stderr
            assert done.returncode == code or words == ("help-test",)
        assert node.run("link", "--dry-run").returncode == 0


def test_the_uplink_goes_on_whatever_its_neighbours_say(stop: Stop) -> None:
    """`{}` or `[]` as a status ended it at the next look."""
    stop.start()
    for answer in ANSWERS:
        with (
            answering(stop.layout.socket("camera", "uplink"), answer) as camera,
            answering(stop.layout.socket("io", "uplink"), answer) as io,
        ):
            until(lambda camera=camera, io=io: camera[0] >= 2 and io[0] >= 2, f"it asked twice: {answer[:40]!r}")  # type: ignore[misc]
            assert stop.status() is not None
    stop.neighbour("camera")
    until(lambda: (stop.status() or {})["standing"]["state"] in ("ready", "degraded"), "it answers as ever")
    assert stop.end() == 0


def test_the_uplink_goes_on_whatever_it_is_asked(stop: Stop) -> None:
    stop.start()
    assert stop.process
    for name in ("ctl", "uplink"):
        assault(stop.layout.socket("uplink", name), stop.process, stop.log.read_text)
    assert stop.status() is not None
    assert stop.end() == 0
