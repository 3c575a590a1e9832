"""14.D14: a file that names others, or on which FFmpeg makes no progress, is refused; `lykta mask` reads the named file alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from agent.commands.mask.process import Progress, apart
from tests.support.broker import PATIENCE
from tests.support.ffmpeg import ffmpeg, shown
from tests.support.masked_files import agree, refused, run
from tests.support.nodes import BIN, MODELS

WIDTH, HEIGHT, FRAMES = 64, 48, 5
HUGE = 1 << 40
"""Bytes that a sparse file declares; it takes none."""
LISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile secret.ts\n",
    "playlist.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "playlist without end.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nsecret.ts\n",
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\n"
    "c=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "subtitles.idx": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:00:000, filepos: 000000000\n",
}
RESYNC = ("mkv", "ts")
"""Two of the formats whose reader looks for the next picture to the end of the file, however far that is."""
GIVE_UP_S = 10


def film(path: Path, source: str = "testsrc2", frames: int = FRAMES) -> Path:
    ffmpeg("-f", "lavfi", "-i", f"{source}=s={WIDTH}x{HEIGHT}:r=10", "-frames:v", str(frames), path)
    return path


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_is_refused(tmp_path: Path, name: str) -> None:
    """FFmpeg would show the file beside it, wait for more of it for ever, or listen on the network."""
    film(tmp_path / "secret.ts")
    (tmp_path / "subtitles.sub").write_bytes((tmp_path / "secret.ts").read_bytes())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        (tmp_path / name).write_text(LISTS[name].format(port=probe.getsockname()[1]))
    refused(tmp_path / name, tmp_path, f"{name}: a list of other files or addresses")


@pytest.mark.parametrize("name", ["a%03d.png", "a%d.png", "a*.png", "a[0-9]01.png"])
def test_a_pattern_in_a_name_is_a_name(tmp_path: Path, name: str) -> None:
    """FFmpeg takes it for the number of a series: another picture would be masked under this name."""
    source = film(tmp_path / name.replace("%", "percent"), "smptebars", 1).rename(tmp_path / name)
    for other in ("a001.png", "a1.png", "a002.png"):
        film(tmp_path / other, frames=1)
    plain = tmp_path / "plain.png"
    plain.write_bytes(source.read_bytes())
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == 1
    agree(pictures, rasters, shown(plain, WIDTH, HEIGHT), people=False)


def test_files_without_progress_are_ended_and_the_batch_goes_on(tmp_path: Path) -> None:
    """A small film that declares a terabyte behind it: its reader would look through all of it for the next picture."""
    endless = [film(tmp_path / f"endless-{suffix}.{suffix}") for suffix in RESYNC]
    good, out, bound = film(tmp_path / "good.mp4"), tmp_path / "out", str(GIVE_UP_S)
    for path in endless:
        os.truncate(path, HUGE)
    words = [BIN / "lykta", "mask", *endless, good, f"{out}/", "--json", "--models", MODELS, "--give-up", bound]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE * 120)
    assert done.returncode == 1, done.stderr
    *refusals, masked = json.loads(done.stdout)["files"]
    assert [one["error"] for one in refusals] == [f"{path}: no further picture in {bound} s" for path in endless]
    assert all("--give-up" in one["hint"] for one in refusals)
    assert masked["frames"] == FRAMES
    assert [path.name for path in out.iterdir()] == ["good.mp4"]


def test_the_bound_is_from_one_picture_to_the_next() -> None:
    """A film may take as long as it is, and a disk as long as it needs once all is read."""
    bound = 3

    def long(come: Progress) -> dict[str, Any]:
        end = time.monotonic() + 2 * bound
        while time.monotonic() < end:
            come.picture()
            time.sleep(0.05)
        come.read()
        time.sleep(bound + 1)
        return {"done": True}

    assert apart("long.mp4", long, bound) == {"done": True}


def test_a_bound_of_nothing_is_refused(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mp4")
    done = subprocess.run([BIN / "lykta", "mask", source, tmp_path / "o.mp4", "--give-up", "0"], capture_output=True, check=False)
    assert done.returncode == 2
