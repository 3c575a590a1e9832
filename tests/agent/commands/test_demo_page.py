"""The demo's page says what was measured and no more (14.F22)."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from agent.demo import page
from agent.demo.input_picture import before
from agent.demo.page import ClipShown
from drivers.media.video import still
from tests.support.manifests import manifest
from tests.support.nodes import VIDEO
from tests.support.records import BASIS

BEGIN = datetime(2026, 11, 28, 21, 7, 50, tzinfo=UTC)
END = BEGIN + timedelta(seconds=4)
SHOWN = manifest(
    "01a223fc-5aaa-7fab-bb7b-593e42f126d2",
    state="complete", trigger="help", begin=BEGIN, end=END, deadline=END + timedelta(hours=72),
    width=768, height=576, frames=42, full={}, stack="nanodet-g+centerface",
)  # fmt: skip
SUMMARY = {
    "frames": 42, "masked": 42, "full": 0, "clips": {"sealed": 1, "uploaded": 1, "opened": 1}, "messages": {"state": 4},
    "cpu_ms_per_frame": 15.0, "peak_mb": {"camera": 331.0}, "first_sealed_byte_s": 2.0, "presence_to_broker_median_s": 0.5,
    "help": [], "store_dir": "/d/store", "identity": "/d/centre/identity.txt",
}  # fmt: skip


def test_the_page_says_what_was_measured_and_what_not(tmp_path: Path) -> None:
    """14.F22: both languages, each clip's facts, a picture before and after, and nothing that nobody knows."""
    clip = ClipShown(SHOWN, 42, 0.74)
    page.write(tmp_path, SUMMARY, [clip], "vtest.avi", BASIS)
    text = (tmp_path / "index.html").read_text()
    assert not re.search(r"[Ee]very person|[Aa]lla personer", text)
    for said in (
        "Inte mätt: om någon syns", "Not measured: whether somebody stayed visible", "vtest.avi", "nanodet-g+centerface",
        "2026-11-28 22:07:50", "hjälpknappen trycktes in / the help button was pressed", "4.0 s, 42", "2026-12-01 22:07 (72 h)",
        "basis-1: 2026-17", "person eller ansikte", "74%", f"stills/{SHOWN.clip}-before.jpg", f"stills/{SHOWN.clip}.jpg",
    ):  # fmt: skip
        assert said in text, said
    assert "bilder in / frames in" in text
    written = re.findall(r"(?:&gt;|-o) (/tmp/\S+?\.mp4)", text)
    assert len(written) == len(set(written)) == 2, "`open` overwrites nothing: the commands can be pasted one after the other"
    assert 'content="width=device-width' in text
    assert re.search(r"pre\{[^}]*white-space:pre-wrap;overflow-wrap:anywhere", text), "code is broken, not cut"


def test_the_picture_before_is_cut_from_the_public_file(tmp_path: Path) -> None:
    """14.F22, R24: whatever the clip shows, the picture is one of the public file's own; here all of the clip is painted."""
    clip = tmp_path / "clip.mp4"
    tone = "lavfi", "-i", "color=c=0x202020:s=768x576:d=1:r=10"
    subprocess.run(["ffmpeg", "-v", "error", "-f", *tone, "-c:v", "libx264", clip], check=True)
    shown, own = cv2.imdecode(np.frombuffer(before(VIDEO, clip, 0.5), np.uint8), 0), still_of(VIDEO)
    assert shown.shape == own.shape
    assert shown.std() > 20, "a street, not the one tone of the clip"
    assert np.abs(shown.astype(int) - own).mean() < np.abs(shown.astype(int) - still_of(clip)).mean() / 2


def still_of(path: Path) -> npt.NDArray[np.uint8]:
    return cv2.imdecode(np.frombuffer(still(path, 0.5), np.uint8), 0)
