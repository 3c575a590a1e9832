"""Fixtures of more than one file of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ffmpeg import X264, ffmpeg
from tests.support.masked_files import FRAMES, HEIGHT, WIDTH
from tests.support.nodes import VIDEO


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of the demo's pedestrians at 10 a second."""
    path = tmp_path_factory.mktemp("people") / "people.mp4"
    ffmpeg("-i", VIDEO, "-vf", f"scale={WIDTH}:{HEIGHT}", "-frames:v", str(FRAMES), *X264, "-g", "4", path)
    return path
