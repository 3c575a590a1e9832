"""`lykta mask --background` and `--learn-background`: a learned background for a short clip."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import numpy as np
import pytest

from privacy.errors import RecordError
from privacy.masking.background.learned import LONGEST, SCHEMA, LearnedBackground, encode, parse, read_background
from tests.support.ffmpeg import ffmpeg
from tests.support.masked_files import mask
from tests.support.nodes import VIDEO

STRICT = ("--profile", "strict")


def learned(**changed: object) -> LearnedBackground:
    """Of pictures of 320x180: 108 rows of 192 pixels, 27 rows of 48 tiles."""
    mean, deviation, seen = bytes([90]) * 108 * 192, bytes([48]) * 108 * 192, bytes([1]) * 27 * 48
    return msgspec.structs.replace(LearnedBackground(SCHEMA, 320, 180, mean, deviation, seen), **changed)


def test_a_background_comes_back_as_it_went() -> None:
    assert parse(encode(learned()), "b") == learned()
    assert len(encode(learned())) < LONGEST


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", encode(learned())[:5000], encode(learned(mean=b"")), encode(learned(width=640, height=640)),
        encode(learned(seen=bytes([2]) * 27 * 48)), encode(learned(deviation=bytes(108 * 192))), b" " * (LONGEST + 1),
        encode(learned()).replace(b"background/1", b"background/2"), encode(learned(width=0)),
    ],
)  # fmt: skip
def test_what_is_no_background_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(data)
    with pytest.raises(RecordError) as problem:
        read_background(path)
    assert "b.json" in str(problem.value)
    assert "--learn-background" in problem.value.hint or "remove" in problem.value.hint


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "film.mp4"
    ffmpeg("-i", VIDEO, "-c:v", "libx264", "-frames:v", "60", path)
    return path


def test_a_clip_begins_with_what_another_one_taught(film: Path, tmp_path: Path) -> None:
    """Less is painted, nobody's place is in the file, and it is for its owner alone."""
    out, file = tmp_path / "o.mp4", tmp_path / "b.json"
    first = mask(film, out, *STRICT, "--learn-background", file, "--json")
    assert first.returncode == 0, first.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    known = read_background(file)
    seen = np.frombuffer(known.seen, np.uint8).reshape(36, 48)
    mean = np.frombuffer(known.mean, np.uint8).reshape(144, 192)
    assert 0.3 < seen.mean() < 1
    assert not mean[seen.repeat(4, 0).repeat(4, 1) == 0].any(), "what was not seen without people is in no file"
    second = mask(film, tmp_path / "o2.mp4", *STRICT, "--background", file, "--json")
    before, after = json.loads(first.stdout), json.loads(second.stdout)
    assert (before["background"], after["background"]) == (False, True)
    assert after["background_seen"] >= before["background_seen"] == pytest.approx(float(seen.mean()), abs=1e-4)
    assert after["painted_share_at_most"] < before["painted_share_at_most"]


def test_what_cannot_be_meant_is_refused(film: Path, tmp_path: Path) -> None:
    out, file, small = tmp_path / "o.mp4", tmp_path / "b.json", tmp_path / "small.mp4"
    file.write_bytes(encode(learned()))
    ffmpeg("-i", film, "-vf", "scale=160:120", "-frames:v", "5", small)
    for code, word, words in (
        (2, "profile standard", (film, out, "--background", file)),
        (2, "profile standard", (film, out, "--learn-background", tmp_path / "new.json")),
        (2, "one IN", (film, f"{tmp_path}/out/", *STRICT, "--learn-background", tmp_path / "new.json")),
        (2, "exists", (film, out, *STRICT, "--learn-background", file)),
        (2, "OUT is IN", (film, out, *STRICT, "--background", file, "--learn-background", file, "--force")),
        (1, "cannot be read", (film, out, *STRICT, "--background", tmp_path / "none.json")),
        (1, "320x180", (small, out, *STRICT, "--background", file)),
    ):
        done = mask(*words)
        assert (done.returncode, done.stderr.count("error: ")) == (code, 1), done.stderr
        assert word in done.stderr
    assert file.read_bytes() == encode(learned())
    assert not out.exists()
