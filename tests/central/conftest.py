"""A node of the centre whose keys `lykta-central keygen` made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clips import Node


@pytest.fixture(scope="module")
def node(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(keys, "city/stop-1", tmp_path_factory.mktemp("node"))
