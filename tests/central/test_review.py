"""Nothing is signed unread: records that cannot mean what they say are refused, others are asked about (14.F21, R33b)."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.keys.review import shown_share
from privacy.records.far_zone import FarLine
from tests.support.broker import PATIENCE
from tests.support.clips import TOOL, Node, central, example, made

WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
HALVES = [[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]], [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]]
AREA = {"kind": "stop", "paragraph": "KBL11.5b", "workplace": False}


def at(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def words(keys: Path, tmp_path: Path, name: str, record: dict[str, Any]) -> list[str | Path]:
    source = tmp_path / "record.json"
    source.write_text(json.dumps(record))
    return ["sign", name, source, "--keys", keys, "-o", tmp_path / "record.jws"]


REFUSED = [
    ("basis", {"end": at(-2), "begin": at(-1)}, "basis: end: must be after begin"),
    ("basis", {"stop": "example stop"}, "basis: stop: is the example's (got 'example stop')"),
    ("basis", {"assessment": " example, not an assessment "}, "basis: assessment: is the example's"),
    ("basis", {"stop": "Example: the stop"}, "basis: stop: is the example's"),
    ("basis", {"assessment": " "}, "basis: assessment: must not be empty"),
    ("order", {"decided": "who decided"}, "order: decided: is the example's (got 'who decided')"),
]
ASKED = [
    ("basis", {"begin": at(-9), "end": at(-1)}, "basis: end: is over already"),
    ("order", {"issued": at(-9), "until": at(-1)}, "order: until: is over already"),
    ("basis", {"hours": []}, "basis: hours: no day is named"),
    ("basis", {"stacks": ["yolo"]}, "basis: stacks: must be known ones (got yolo)"),
    ("view", {"areas": [AREA | {"polygon": [[0.02, 0.0], *WHOLE[1:]]}]}, "view: areas: the whole picture may be shown"),
    ("view", {"zones": [WHOLE]}, "view: areas: nothing is shown"),
    ("view", {"far": {"left": 1, "right": 1}}, "view: areas: nothing is shown"),
    ("view", {"areas": [AREA | {"polygon": WHOLE}]}, "view: areas: the whole picture may be shown"),
    ("view", {"areas": [AREA | {"polygon": half} for half in HALVES]}, "view: areas: the whole picture may be shown"),
]


@pytest.mark.parametrize(("name", "changes", "said"), REFUSED)
def test_what_cannot_be_meant_is_not_signed(keys: Path, tmp_path: Path, name: str, changes: dict[str, Any], said: str) -> None:
    done = central(*words(keys, tmp_path, name, json.loads(example(name)) | changes), "--yes")
    assert done.returncode == 5, done.stdout
    assert said in done.stderr
    assert "\nhint: " in done.stderr
    assert not (tmp_path / "record.jws").exists()


@pytest.mark.parametrize(("name", "changes", "said"), ASKED)
def test_what_may_be_meant_is_asked_about(keys: Path, tmp_path: Path, name: str, changes: dict[str, Any], said: str) -> None:
    command = words(keys, tmp_path, name, json.loads(example(name)) | changes)
    done = central(*command)
    assert done.returncode == 5
    assert said in done.stderr
    assert "--yes" in done.stderr
    assert not (tmp_path / "record.jws").exists()
    made(*command, "--yes")
    assert (tmp_path / "record.jws").exists()


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 5), (b"\n", 5)])
def test_somebody_at_a_terminal_is_asked(keys: Path, tmp_path: Path, answer: bytes, code: int) -> None:
    command = words(keys, tmp_path, "view", json.loads(made("sign", "view", "--example", "city/stop-1")))
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    done = subprocess.run([TOOL, *command], stdin=theirs, capture_output=True, text=True, timeout=PATIENCE * 60, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "Sign it?" in done.stderr
    assert (tmp_path / "record.jws").exists() == (code == 0)


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_the_share_that_is_shown(right: float, bottom: float) -> None:
    corner = [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)]
    assert shown_share([corner, corner]) == pytest.approx(right * bottom, abs=0.06)


@given(st.floats(0, 1), st.floats(0, 1))
def test_what_lies_above_the_far_line_is_not_shown(left: float, right: float) -> None:
    whole = [(x, y) for x, y in WHOLE]
    assert shown_share([whole], (), FarLine(left, right)) == pytest.approx(1 - (left + right) / 2, abs=0.03)


def test_open_overwrites_nothing(keys: Path, tmp_path: Path) -> None:
    """A clip opened onto another file, or onto a link to one, replaced it."""
    clip = Node(keys, "city/stop-1", tmp_path / "node").clip()
    kept, link = tmp_path / "kept.mp4", tmp_path / "link.mp4"
    (tmp_path / ".new.mp4.part").symlink_to(kept)
    kept.write_bytes(b"evidence")
    link.symlink_to(kept)
    for target in (kept, link):
        done = central("open", clip, "--keys", keys, "-o", target)
        assert done.returncode == 2
        assert f"{target}: exists already" in done.stderr
    made("open", clip, "--keys", keys, "-o", tmp_path / "new.mp4")
    assert kept.read_bytes() == b"evidence"
    assert (tmp_path / "new.mp4").stat().st_mode & 0o777 == 0o600


def test_only_an_older_record_of_its_kind_is_replaced(keys: Path, tmp_path: Path) -> None:
    """-o takes no key, no draft and no other record away."""
    command, target = words(keys, tmp_path, "basis", json.loads(example("basis"))), tmp_path / "record.jws"
    for _ in range(2):
        made(*command)
    view = words(keys, tmp_path, "view", json.loads(example("view")))[:-1]
    for other in (keys / "basis.key", tmp_path / "record.json", target):
        before = other.read_bytes()
        done = central(*view, other)
        assert done.returncode == 2
        assert "exists and is no signed view" in done.stderr
        assert other.read_bytes() == before
