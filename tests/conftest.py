"""Fixtures that more than one file uses: a whole node, and a broker with a bus stop around the uplink."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from agent.demo import Demo
from tests.broker import NAME, Broker, Centre, free_port
from tests.ingests import OddIngest
from tests.nodes import MODELS, VIDEO, Node
from tests.shelf import Shelf
from tests.stop import Stop

# How long an example takes says how busy the machine is; and what fails for a stranger is printed so that it can be run again.
settings.register_profile("lykta", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("lykta")


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
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.close()


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
