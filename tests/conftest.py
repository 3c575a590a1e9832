"""Fixtures that more than one file uses: a whole node, and a broker with a bus stop around the uplink."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from agent.demo.run import Demo
from tests.support import clips
from tests.support.broker import NAME, Broker, Centre, free_port, until
from tests.support.clip_node import ClipNode
from tests.support.fake_broker import FakeBroker, Talk
from tests.support.ingests import OddIngest
from tests.support.nodes import MODELS, PROJECT, VIDEO, Node
from tests.support.nodes import stop as end
from tests.support.receiving import Centre as Ingest
from tests.support.sampling import sampled
from tests.support.stop import LYKTA, Stop

# How long an example takes says how busy the machine is; and what fails for a stranger is printed so that it can be run again.
settings.register_profile("lykta", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("lykta")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With LYKTA_SAMPLE=N one of N cases of each test in a slow file, others after each commit. CI does; `make test` runs all."""
    every = int(os.environ.get("LYKTA_SAMPLE", "1"))
    if every > 1:
        words = ["git", "rev-parse", "HEAD"]
        head = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
        items[:] = sampled(items, every, int(head[:8], 16))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A centre and a node, made once by `lykta-central`."""
    demo = Demo(tmp_path_factory.mktemp("made") / "demo", VIDEO, MODELS)
    demo.prepare()
    return demo


@pytest.fixture
def node(made: Demo, tmp_path: Path) -> Node:
    return Node.copy(made, tmp_path)


@pytest.fixture
def clip_node(tmp_path: Path) -> Iterator[ClipNode]:
    clip_node = ClipNode(tmp_path)
    yield clip_node
    clip_node.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lykta-") as folder:
        yield Path(folder)


@pytest.fixture
def broker(folder: Path) -> Iterator[Broker]:
    broker = Broker(folder / "broker", Centre(folder / "centre"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A centre's folder of keys, as `lykta-central keygen` makes it; a test that changes it takes a copy."""
    folder = tmp_path_factory.mktemp("centre") / "keys"
    clips.made("keygen", folder)
    return folder


@pytest.fixture(scope="module")
def running(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests of a file; it is never restarted, and its log has no traceback at the end."""
    centre = Ingest(keys, tmp_path_factory.mktemp("shared") / "store")
    centre.start()
    yield centre
    assert centre.end() in (0, -signal.SIGTERM)
    assert "Traceback" not in centre.log.read_text()


@pytest.fixture
def meet(stop: Stop, broker: Broker) -> Iterator[Callable[[Callable[[Talk], None]], FakeBroker]]:
    """Put a broker of the test's own in the place of mosquitto, and start the uplink."""
    broker.stop()
    with ExitStack() as met:

        def with_script(script: Callable[[Talk], None]) -> FakeBroker:
            fake = met.enter_context(FakeBroker(broker.centre, script))
            config = stop.layout.config
            config.write_text(config.read_text().replace(f"port = {broker.port}", f"port = {fake.port}"))
            stop.start()
            return fake

        yield with_script


@pytest.fixture
def ingest_port() -> int:
    return free_port()


@pytest.fixture
def stop(folder: Path, broker: Broker, ingest_port: int) -> Iterator[Stop]:
    stop = Stop(folder / "node", broker, NAME, ingest_port)
    yield stop
    stop.close()


@pytest.fixture
def odd(broker: Broker, ingest_port: int) -> Iterator[OddIngest]:
    """An ingest that somebody else made."""
    server = OddIngest(broker.centre, ingest_port)
    with server.running():
        yield server
    server.go_on.set()


@pytest.fixture
def whole(stop: Stop) -> Iterator[Node]:
    """io and uplink of one node as processes, at a real broker; it has a help button and a light."""
    with stop.layout.config.open("a") as file:
        file.write('\n[pins]\nfactory = "mock"\nlight = 6\n')
    node = Node(stop.root, stop.broker.centre.folder)
    with (stop.root / "io.log").open("ab") as log:
        service = subprocess.Popen([LYKTA, "--root", stop.root, "io"], stdout=log, stderr=log)
    until(lambda: node.state("io")[0] == "ready", "io is ready")
    stop.start()
    until(lambda: stop.detail("connected"), "the uplink is connected")
    yield node
    end(service)
