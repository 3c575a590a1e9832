"""`lykta mask` on any file: the command, and whether what came out is masked or refused as it must be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from privacy.masking.mask_record import TONES
from privacy.masking.networks.models import stack_of
from tests.support.broker import PATIENCE
from tests.support.ffmpeg import frames_of
from tests.support.nodes import BIN, MODELS

FRAMES, WIDTH, HEIGHT = 8, 384, 288
LEVELS = np.array([tone[0] for tone in TONES])


def mask(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "lykta", "mask", "--models", MODELS, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 120, check=False)


def luma_of(path: Path) -> list[np.ndarray]:
    """The luma of a masked video, as coded."""
    return [picture[: picture.shape[0] * 2 // 3].astype(int) for picture in frames_of(path, "yuv420p")]


def inner(area: np.ndarray) -> np.ndarray:
    """An area without 8 pixels at its border, where the coder blurs."""
    return cv2.erode(area.astype(np.uint8), np.ones((17, 17), np.uint8), borderValue=1) == 1


def painted(picture: np.ndarray, hidden: np.ndarray) -> bool:
    """Whether all that must be hidden holds one of the tones."""
    levels = picture[inner(hidden)]
    return not levels.size or float(np.quantile(np.abs(levels[:, None] - LEVELS).min(axis=1), 0.999)) <= 12


def run(source: Path, folder: Path, *words: str | Path) -> tuple[dict[str, Any], list[np.ndarray], list[np.ndarray]]:
    """Report, luma and masks of a file that can be masked; what is hidden was looked at."""
    out, masks = folder / "out.mp4", folder / "masks.mkv"
    done = mask(source, out, "--masks", masks, "--json", "--force", "--models", one_network(folder / "models"), *words)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert all(line in done.stderr for line in facts["notes"])
    pictures, rasters = luma_of(out), [raster == 255 for raster in frames_of(masks, "gray")]
    assert len(pictures) == len(rasters) == facts["frames"] > 0
    assert all(painted(*pair) for pair in zip(pictures, rasters, strict=True))
    return facts, pictures, rasters


def one_network(folder: Path) -> Path:
    """Models of the stack with one network for people, if it is there: the other takes a turned yard for one person now and then,
    and then nothing is shown that could be compared."""
    files = [MODELS / file.name for file in stack_of("yolox-nano+yunet").files]
    if not all(file.exists() for file in files):
        return MODELS
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file.name).unlink(missing_ok=True)
        (folder / file.name).symlink_to(file)
    return folder


def agree(pictures: list[np.ndarray], rasters: list[np.ndarray], wanted: np.ndarray, *, people: bool = True) -> None:
    """What is not hidden is the picture as ffmpeg shows it; people are hidden, not everything is."""
    assert len(pictures) == len(wanted)
    height, width = wanted.shape[1:]
    shown = 0
    for picture, raster, want in zip(pictures, rasters, wanted, strict=True):
        clear = inner(~raster)[:height, :width]
        assert raster.any() or not people
        shown += int(clear.sum())
        assert not clear.any() or np.abs(picture[:height, :width] - want)[clear].mean() < 4
    assert shown


def refused(source: Path, folder: Path, word: str, *words: str) -> None:
    out = folder / "out.mp4"
    done = mask(source, out, *words)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == done.stderr.count("\nhint: ") == 1
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in folder.iterdir() if "out.mp4" in path.name] == []
