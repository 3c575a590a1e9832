"""Fixtures that more than one file uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.demo import Demo
from tests.nodes import MODELS, VIDEO, Node


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A centre and a node, made once by `lykta-central`."""
    demo = Demo(tmp_path_factory.mktemp("made") / "demo", VIDEO, MODELS)
    demo.prepare()
    return demo


@pytest.fixture
def node(made: Demo, tmp_path: Path) -> Node:
    return Node.copy(made, tmp_path)
