"""An empty database of the collector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.collecting import ready


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = ready(f"sqlite:///{tmp_path / 'collect.db'}")
    yield engine
    engine.dispose()
