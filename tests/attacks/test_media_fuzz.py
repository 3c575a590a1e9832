"""14.D14: any file whatever, made or damaged at random: `lykta mask` ends in 0 or 1 by its own will, and loses no frame.

Each round masks a batch with one command. `LYKTA_FUZZ_S` is how long it goes on; what fails is kept in `out/fuzz/media/`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from provisioning.layout import CODE
from tests.support.broker import PATIENCE
from tests.support.ffmpeg import count_of
from tests.support.nodes import BIN, MODELS, PROJECT

SECONDS = float(os.environ.get("LYKTA_FUZZ_S", "8"))
SEED = int(os.environ.get("LYKTA_FUZZ_SEED", "14"))
FOUND = PROJECT / "out/fuzz/media"
MEDIA = CODE / "tests/support/media"
BATCH, FRAMES = 12, 6

# ending, words for ffmpeg
MADE: tuple[tuple[str, str], ...] = (
    ("mp4", "-c:v libx264 -preset ultrafast -g 3"), ("mp4", "-c:v libx265 -x265-params log-level=none"), ("mp4", "-c:v mpeg4"),
    ("mov", "-c:v prores_ks"), ("mov", "-c:v qtrle"), ("mov", "-c:v dvvideo -s 720x576 -pix_fmt yuv420p"), ("mov", "-c:v png"),
    ("mkv", "-c:v libx264 -bf 2"), ("mkv", "-c:v ffv1 -pix_fmt yuv444p16le"), ("mkv", "-c:v libtheora"), ("mkv", "-c:v huffyuv"),
    ("webm", "-c:v libvpx -deadline realtime"), ("webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"), ("avi", "-c:v mjpeg"),
    ("avi", "-c:v rawvideo -pix_fmt bgr24"), ("avi", "-c:v msmpeg4v2"), ("avi", "-c:v utvideo"), ("avi", "-c:v zmbv"),
    ("ts", "-c:v libx264 -preset ultrafast"), ("ts", "-c:v mpeg2video -flags +ildct+ilme"), ("mpg", "-c:v mpeg1video"),
    ("asf", "-c:v wmv2"), ("flv", "-c:v flv1"), ("flv", "-c:v flashsv"), ("ogv", "-c:v libtheora"), ("mxf", "-c:v mpeg2video"),
    ("nut", "-c:v snow -strict -2"), ("nut", "-c:v magicyuv"), ("gif", ""), ("apng", "-f apng"), ("y4m", ""),
    ("mjpeg", ""), ("h264", ""),
    ("rm", "-c:v rv20"), ("3gp", "-c:v h263 -s 176x144"), ("swf", "-c:v flv1"), ("jpg", "-frames:v 1"), ("png", "-frames:v 1"),
    ("png", "-frames:v 1 -pix_fmt pal8"), ("tif", "-frames:v 1"), ("webp", "-frames:v 1"), ("bmp", "-frames:v 1"),
    ("jp2", "-frames:v 1"), ("exr", "-frames:v 1"), ("dpx", "-frames:v 1"), ("tga", "-frames:v 1"), ("pcx", "-frames:v 1"),
    ("sgi", "-frames:v 1"), ("pam", "-frames:v 1"), ("avif", "-frames:v 1 -c:v libaom-av1 -cpu-used 8 -still-picture 1"),
)  # fmt: skip
SOURCES = ("testsrc2", "mandelbrot", "smptebars", "life")
SIZES = ("64x48", "65x49", "16x16", "2x2", "320x240", "97x31")


def made(rng: random.Random, folder: Path, number: int) -> Path | None:
    """A file of any kind and size; None where ffmpeg cannot make it."""
    ending, words = rng.choice(MADE)
    path = folder / f"{number}.{ending}"
    source = f"{rng.choice(SOURCES)}=s={rng.choice(SIZES)}:r={rng.choice((1, 10, 25))}"
    command = ["ffmpeg", "-v", "quiet", "-y", "-f", "lavfi", "-i", source, "-frames:v", str(FRAMES), *words.split(), str(path)]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL, timeout=PATIENCE * 60).returncode or not path.stat().st_size:
        path.unlink(missing_ok=True)
        return None
    return path


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Some of its bytes changed, cut off, doubled, or swapped for numbers that are at the border of what fits."""
    worse = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 10, 40))):
        at = rng.randrange(min(len(worse), rng.choice((64, 1024, len(worse)))))
        match rng.randrange(6):
            case 0:
                worse[at] = rng.randrange(256)
            case 1:
                worse[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1"))
            case 2:
                worse[at] ^= 1 << rng.randrange(8)
            case 3:
                del worse[at : at + rng.randrange(1, 64)]
            case 4:
                worse[at:at] = worse[at : at + rng.randrange(1, 64)]
            case _:
                del worse[max(at, 8) :]
        if not worse:
            return data[:1]
    return bytes(worse)


def batch(rng: random.Random, folder: Path) -> list[tuple[Path, bool]]:
    """Files to mask, and whether each is whole."""
    files = []
    for number in range(BATCH):
        path = made(rng, folder, number)
        if path is None:
            continue
        whole = rng.random() < 0.3
        if not whole:
            path.write_bytes(damaged(rng, path.read_bytes()))
        files.append((path, whole))
    tiles = folder / "tiles.heic"
    tiles.write_bytes(damaged(rng, (MEDIA / "tiles-2x2.heic").read_bytes()))
    return [*files, (tiles, False)]


def judge(files: list[tuple[Path, bool]], out: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert "crashed" not in done.stderr
    assert "please report" not in done.stderr
    facts = json.loads(done.stdout)
    assert len(facts["files"]) == len(files)
    for (path, whole), said in zip(files, facts["files"], strict=True):
        if "error" in said:
            assert said["hint"], said
            continue
        masked = out / f"{path.stem}.mp4"
        assert count_of(masked) == said["frames"], said
        if whole and not (said["notes"] and any(said["input"][fault] for fault in ("undecodable", "missing"))):
            assert said["frames"] == count_of(path), said
    assert sorted(path.suffix for path in out.iterdir()) == [".mp4"] * facts["done"]


@pytest.mark.slow
def test_any_file_is_masked_or_refused(tmp_path: Path) -> None:
    rng, end, number = random.Random(SEED), time.monotonic() + SECONDS, 0
    while number == 0 or time.monotonic() < end:
        number += 1
        folder, out = tmp_path / f"{number}", tmp_path / f"{number}-out"
        folder.mkdir()
        files = batch(rng, folder)
        words = [BIN / "lykta", "mask", *(path for path, _ in files), f"{out}/", "--json", "--profile", "full", "--models", MODELS]
        try:
            judge(files, out, subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE * 300))
        except (AssertionError, subprocess.TimeoutExpired):
            shutil.copytree(folder, FOUND / f"{SEED}-{number}", dirs_exist_ok=True)
            raise
        shutil.rmtree(folder)
        shutil.rmtree(out)
