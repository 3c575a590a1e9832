"""Clips and sticks that somebody made to harm who checks them: refused in a sentence, with little memory (14.A1, 14.B5, 14.C11)."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from privacy.records.jws import sign
from privacy.records.manifest import MANIFEST
from provisioning.identity import load_signer
from tests.support.broker import PATIENCE
from tests.support.clips import HEADER, TOOL, Node, central, film, mask, noise, records, sealed

FILM = film()
MOST_KB = 900_000
"""Peak of a process that checks a clip; the picture that was signed took 37 GiB."""
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Its peak in kB, from a small process of its own: a process counts all its children's, and a child begins with its parent's."""


@pytest.fixture(scope="module")
def node(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(keys, "city/stop-1", tmp_path_factory.mktemp("node"))


def refused(keys: Path, folder: Path) -> str:
    """What verify said; it must refuse, without a traceback and within the memory."""
    words = [sys.executable, "-c", MEASURED, TOOL, "verify", folder, "--keys", keys]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE * 120, check=False)
    error = done.stderr
    assert done.returncode in (1, 5), error
    assert "Traceback" not in error
    last = error.strip().splitlines()
    assert last[-2].startswith("error: ")
    assert last[-1].startswith("hint: ")
    assert int(done.stdout.splitlines()[-1]) < MOST_KB
    return error


def large(width: int, height: int) -> bytes:
    """An MP4 of one black picture of that size."""
    target = BytesIO()
    with av.open(target, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((height * 3 // 2, width), np.uint8), "yuv420p")
        frame.time_base, frame.pts = Fraction(1, 25), 0
        out.mux([*stream.encode(frame), *stream.encode(None)])
    return target.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 200_000, "height": 200_000},
        {"width": 2**31},
        {"frames": 10**15},
        {"files": [{"name": "clip.age", "size": 10**18}]},
    ],
    ids=str,
)
def test_a_signed_manifest_of_the_impossible_is_refused(keys: Path, node: Node, changes: dict[str, Any]) -> None:
    folder = node.clip(FILM)
    whole = msgspec.to_builtins(node.spool.manifest(folder.name)) | changes
    for file in whole["files"]:
        file.setdefault("sha256", "0" * 64)
    (folder / "manifest.jws").write_bytes(sign(whole, load_signer(node.layout, "camera"), MANIFEST))
    refused(keys, folder)


def test_a_picture_of_the_impossible_takes_no_memory(keys: Path, node: Node) -> None:
    """Manifest and mask records agree on 200,000 x 200,000, and both are signed or sealed: 37 GiB for one picture's mask."""
    side = {"width": 200_000, "height": 200_000}
    refused(keys, sealed(node, FILM, [msgspec.structs.replace(HEADER, **side), *records()[1:]], **side))


@pytest.mark.parametrize(
    "lines",
    [
        [msgspec.structs.replace(HEADER, width=200_000, height=200_000), *records()[1:]],
        [b"[" * 9000],
        [msgspec.json.encode(msgspec.to_builtins(HEADER) | {"zones": [[]]}), *records()[1:]],
        [msgspec.json.encode(msgspec.to_builtins(HEADER) | {"far": {"left": 7, "right": 7}}), *records()[1:]],
        [msgspec.json.encode(HEADER)[:-1] + b',"far":{"left":NaN,"right":0}}', *records()[1:]],
        [msgspec.json.encode(HEADER)[:-1] + b',"far":{"left":1e400,"right":0}}', *records()[1:]],
        [HEADER, b'{"a":' * 9000],
        [HEADER, b'{"frame":0,"mono_ms":0,"cause":"\xff","boxes":[]}'],
        [HEADER, b'{"frame":0,"mono_ms":' + b"9" * 5000 + b',"cause":"","boxes":[]}'],
        [HEADER, b'{"frame":0,"mono_ms":0,"cause":"","boxes":[' + b",".join([b'["person",0,0,1,1]'] * 40_000) + b"]}"],
        [HEADER, b'{"frame":0,"mono_ms":0,"cause":"","boxes":[["person",0,0,1e400,1]]}'],
        [HEADER, b'{"frame":-1,"mono_ms":-1,"cause":"","boxes":[]}'],
    ],
    ids=[
        "size",
        "deep",
        "no corners",
        "below the picture",
        "no number",
        "infinite line",
        "deep record",
        "no UTF-8",
        "digits",
        "boxes",
        "infinite",
        "negative",
    ],
)
def test_mask_records_that_are_none_are_refused(keys: Path, node: Node, lines: list[Any]) -> None:
    assert "masks: " in refused(keys, sealed(node, FILM, lines))


@pytest.mark.parametrize(("width", "height"), [(8192, 8192), (16384, 1024), (322, 180)])
def test_a_video_larger_than_its_manifest_is_not_decoded(keys: Path, node: Node, width: int, height: int) -> None:
    assert "is larger than the manifest says" in refused(
        keys, sealed(node, large(width, height), [HEADER, mask(0)], frames=1, full={"start": 1})
    )


def test_a_video_that_grows_later_is_not_decoded(keys: Path, node: Node) -> None:
    """The header says the manifest's size, the stream's own parameter sets say another."""
    video = large(8192, 8192).replace(struct.pack(">HH", 8192, 8192), struct.pack(">HH", 320, 180))
    video = video.replace(struct.pack(">II", 8192 << 16, 8192 << 16), struct.pack(">II", 320 << 16, 180 << 16))
    refused(keys, sealed(node, video, [HEADER, mask(0)], frames=1, full={"start": 1}))


@pytest.mark.parametrize("name", ["clip.age", "masks.age", "manifest.jws", "receipt.jws"])
@pytest.mark.parametrize("what", ["fifo", "link", "folder", "zero"])
def test_a_folder_with_anything_but_files_is_refused(keys: Path, node: Node, tmp_path: Path, name: str, what: str) -> None:
    """By verify, and on a stick; none of them waits or reads for ever, and the centre's keys stay as they are."""
    stick, store = tmp_path / "stick", tmp_path / "store"
    good, bad = node.clip(FILM), node.clip(FILM)
    for one in (good, bad):
        (stick / one.name).mkdir(parents=True)
        for file in one.iterdir():
            (stick / one.name / file.name).write_bytes(file.read_bytes())
    path, before = stick / bad.name / name, (keys / "ca.key").read_bytes()
    path.unlink(missing_ok=True)
    match what:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(keys / "ca.key")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/zero")
    error = refused(keys, stick / bad.name)
    assert name in error or "manifest" in error or "receipt" in error
    done = central("ingest", stick, "--keys", keys, "--store", store, "--json")
    said = json.loads(done.stdout)
    assert good.name in said["taken"]
    # A receipt is written anew there, whatever lies at its name, unless that is a folder.
    assert (bad.name in said["taken"]) == (name == "receipt.jws" and what != "folder")
    assert (keys / "ca.key").read_bytes() == before


def test_a_stick_that_leads_elsewhere_changes_nothing_there(keys: Path, node: Node, tmp_path: Path) -> None:
    """A folder that is a link, a receipt's part that is a link to the CA's key, a file of 4 TiB of nothing."""
    stick, elsewhere, good = tmp_path / "stick", tmp_path / "elsewhere", node.clip(noise(1000))
    for folder in (stick / good.name, elsewhere):
        folder.mkdir(parents=True)
        for file in good.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    (stick / "away").symlink_to(elsewhere)
    (stick / good.name / ".receipt.jws.part").symlink_to(keys / "ca.key")
    sparse = stick / "sparse"
    sparse.mkdir()
    (sparse / "manifest.jws").write_bytes((node.clip(noise(1000)) / "manifest.jws").read_bytes())
    with (sparse / "clip.age").open("wb") as file:
        file.truncate(1 << 42)
    (stick / "long").mkdir()
    (stick / "long/manifest.jws").write_bytes(b"x" * 10_000_000)
    before = (keys / "ca.key").read_bytes()
    done = central("ingest", stick, "--keys", keys, "--store", tmp_path / "store", "--json")
    said = json.loads(done.stdout)
    assert said["taken"] == [good.name]
    assert {one["id"] for one in said["refused"]} == {"sparse", "long"}
    assert not (elsewhere / "receipt.jws").exists()
    assert (keys / "ca.key").read_bytes() == before


@pytest.mark.parametrize("data", [b"[" * 9000, b"\xff\xfe", b"9" * 5000, b"{}", b'{"clip":[0,1e400],"masks":[0,0]}', b""])
def test_a_tail_that_is_none_is_refused(keys: Path, node: Node, data: bytes) -> None:
    """Sealed to the centre by whoever has its public key."""
    folder = node.torn(FILM)
    recipient = (keys / "recipients.txt").read_text().split()[0]
    done = subprocess.run(["age", "-r", recipient, "-o", folder / "tail.age"], input=data + b"\n", check=False)
    assert done.returncode == 0
    node.spool.recover(folder.name, node.spool.manifest(folder.name).end)
    assert "tail" in refused(keys, folder)


@pytest.mark.parametrize("what", ["fifo", "long", "bytes", "deep"])
def test_a_journal_that_is_none_is_refused(keys: Path, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "journal/io"
    folder.mkdir(parents=True)
    path = folder / "0000000000.jws"
    match what:
        case "fifo":
            os.mkfifo(path)
        case "long":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "bytes":
            path.write_bytes(b"\xff\xfe\n" * 10)
        case _:
            path.write_bytes(b"W1tb" * 3000 + b".e30.AAAA\n")
    refused(keys, tmp_path / "journal")
    refused(keys, folder)
