from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.rig import Container, Figure, Installed, booted
from tests.powercut import disk

if disk.INSIDE not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def running(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A node that films, shared by tests that leave it as it was."""
    with booted(installed, tmp_path_factory.mktemp("running")) as container:
        yield container


FIGURES: dict[str, float] = {}


@pytest.fixture
def figure() -> Figure:
    """Note a figure, which the run ends with: figures are for people, tests only wait."""
    return FIGURES.__setitem__


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, value in FIGURES.items():
        terminalreporter.write_line(f"figure: {name}: {value:.2f}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
