"""Clips that come on a stick (`lykta-central ingest DIR`): the same way in, and the receipts lie beside them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from central.keys.keygen import authority
from privacy.records.chains import verify_chain
from privacy.records.jws import sha256_hex
from privacy.records.manifest import PART, read_receipt
from tests.support.clips import Node, central, made, noise
from tests.support.nodes import BIN
from tests.support.object_store import ObjectStore
from tests.support.receiving import Centre, parcel


@pytest.fixture
def node(keys: Path, tmp_path: Path) -> Node:
    return Node(keys, "city/stop-1", tmp_path / "node")


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


def carried(keys: Path, stick: Path, store: Path | str, code: int = 0) -> dict[str, Any]:
    """What the command said, on stdout, of the stick."""
    done = central("ingest", stick, "--keys", keys, "--store", store, "--json")
    assert done.returncode == code, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said.pop("schema") == "lykta-central.ingest/1"
    return said


def copied(folder: Path, stick: Path) -> Path:
    return Path(shutil.copytree(folder, stick / folder.name))


def test_a_stick_is_taken_and_its_receipts_free_the_node(keys: Path, node: Node, stick: Path, tmp_path: Path) -> None:
    """Promise 3: the bytes stand in the store as from the network; the receipt beside each is one that the node's spool takes."""
    clips = [node.clip(noise(PART + 77)), node.clip()]
    report = parcel(node, "report", {"week.json": b"{}"}, "uplink")
    folders = [copied(one, stick) for one in (*clips, report)]
    said = carried(keys, stick, tmp_path / "store")
    assert (sorted(said["taken"]), said["refused"]) == (sorted(one.name for one in folders), [])
    for folder in folders[:2]:
        home = tmp_path / "store" / node.name / folder.name
        assert (home / "clip.age").read_bytes() == (folder / "clip.age").read_bytes()
        receipt = (folder / "receipt.jws").read_bytes()
        assert (home / "receipt.jws").read_bytes() == receipt
        assert node.spool.check_receipt(receipt).clip == folder.name
    receipt = read_receipt((folders[2] / "receipt.jws").read_bytes(), authority(keys))
    assert (receipt.kind, receipt.record_sha256) == ("report", sha256_hex((report / "parcel.jws").read_bytes()))
    chain = verify_chain(keys / "journal", "receipt", authority(keys))
    noted = {entry.facts["object"] for entry in chain.entries if entry.kind == "carried"}
    assert {one.name for one in folders} <= noted, "who carried what by hand is in the centre's journal (R32)"


def test_it_may_be_done_again_and_meet_the_network(keys: Path, node: Node, stick: Path, tmp_path: Path) -> None:
    """Broken off, repeated, half of it uploaded meanwhile: one object, one receipt."""
    centre = Centre(keys, tmp_path / "store")
    centre.start()
    clips = [node.clip(noise(PART + 77)), node.clip(), node.clip()]
    begun = centre.announce(node, clips[0]).body["parts"]
    assert centre.put(node, clips[0], begun[0]).status == 204
    receipt = centre.upload(node, clips[1]).body["receipt"]
    folders = [copied(one, stick) for one in clips]
    for _ in range(2):
        assert sorted(carried(keys, stick, tmp_path / "store")["taken"]) == sorted(one.name for one in clips)
    assert (folders[1] / "receipt.jws").read_text() == receipt
    for folder in folders:
        assert centre.look(node, folder).body["receipt"] == (folder / "receipt.jws").read_text()
    centre.end(signal.SIGKILL)


def test_one_that_is_refused_keeps_no_other_waiting(keys: Path, node: Node, stick: Path, tmp_path: Path) -> None:
    """Damaged, cut, incomplete, another centre's, rubbish: each is named with its reason; exit code 1."""
    made("keygen", tmp_path / "other")
    strange = Node(tmp_path / "other", "city/stop-1", tmp_path / "strange")
    damaged, missing, good = (copied(node.clip(), stick) for _ in range(3))
    foreign, rubbish = copied(strange.clip(), stick), stick / "rubbish"
    data = (damaged / "clip.age").read_bytes()
    (damaged / "clip.age").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (missing / "masks.age").unlink()
    rubbish.mkdir()
    (rubbish / "manifest.jws").write_bytes(b"\xff\x00")
    (stick / "photos").mkdir()
    said = carried(keys, stick, tmp_path / "store", code=1)
    assert said["taken"] == [good.name]
    errors = {one["id"]: one["error"] for one in said["refused"]}
    assert errors[damaged.name] == "clip.age: sha256: is not what the manifest says"
    assert errors[missing.name] == f"{missing.name}: masks.age: is missing"
    assert "not of this centre" in errors[foreign.name]
    assert "not a signed record" in errors["rubbish"]
    assert [path.parent.name for path in stick.glob("*/receipt.jws")] == [good.name]
    shutil.copy(node.layout.spool / damaged.name / "clip.age", damaged / "clip.age")
    shutil.copy(node.layout.spool / missing.name / "masks.age", missing / "masks.age")
    assert set(carried(keys, stick, tmp_path / "store", code=1)["taken"]) == {good.name, damaged.name, missing.name}


def test_a_file_that_is_cut_is_refused_before_it_is_sent(keys: Path, node: Node, stick: Path, tmp_path: Path) -> None:
    cut = copied(node.clip(), stick)
    data = (cut / "clip.age").read_bytes()
    (cut / "clip.age").write_bytes(data[:100])
    [refused] = carried(keys, stick, tmp_path / "store", code=1)["refused"]
    assert refused["hint"]
    assert not (cut / "receipt.jws").exists()
    (cut / "clip.age").write_bytes(data)
    assert carried(keys, stick, tmp_path / "store")["taken"] == [cut.name]


def test_without_json_it_tells_people(keys: Path, node: Node, stick: Path, tmp_path: Path) -> None:
    clip = copied(node.clip(), stick)
    done = central("ingest", stick, "--keys", keys, "--store", tmp_path / "store")
    assert (done.returncode, done.stdout) == (0, "taken 1, refused 0\n")
    assert f"1 of 1: {clip.name}" in done.stderr
    done = central("ingest", tmp_path / "nowhere", "--keys", keys, "--store", tmp_path / "store")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        f"error: ingest: {tmp_path / 'nowhere'}: no such folder",
        "hint: name the one that `lykta clips copy` filled",
    ]


@pytest.fixture
def objects(keys: Path, tmp_path: Path) -> Iterator[ObjectStore]:
    server = ObjectStore(keys, tmp_path)
    yield server
    server.close()


def test_a_stick_goes_into_an_object_store_too(
    keys: Path, node: Node, stick: Path, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in objects.environment.items():
        monkeypatch.setenv(name, value)
    bucket, clip = objects.bucket(), copied(node.clip(noise(PART + 77)), stick)
    assert carried(keys, stick, f"s3://{bucket}")["taken"] == [clip.name]
    assert node.spool.check_receipt((clip / "receipt.jws").read_bytes()).clip == clip.name
    names = [key.rpartition("/")[2] for key in objects.versions(bucket, f"{node.name}/{clip.name}")]
    assert sorted(names) == ["clip.age", "manifest.jws", "masks.age", "receipt.jws"]


def test_what_cannot_be_looked_at_is_refused_and_not_passed_over(keys: Path, node: Node, stick: Path, tmp_path: Path) -> None:
    """As on a failing stick. Links, files and folders without a record are no objects."""
    good, bad = copied(node.clip(), stick), copied(node.clip(), stick)
    (stick / "link").symlink_to(good)
    (stick / "notes.txt").write_text("for the centre")
    (stick / "photos").mkdir()
    fault = ["strace", "-f", "-qq", "-o", tmp_path / "trace", "-P", bad.name, "-e", "trace=openat", "-e", "inject=openat:error=EIO"]
    words = [BIN / "lykta-central", "ingest", stick, "--keys", keys, "--store", tmp_path / "store", "--json"]
    done = subprocess.run([*fault, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["taken"] == [good.name]
    assert [(one["id"], one["error"]) for one in said["refused"]] == [(bad.name, f"{bad.name}: Input/output error")]


def test_more_names_than_are_looked_at_are_an_error(keys: Path, stick: Path, tmp_path: Path) -> None:
    """Those beyond the first ten thousand were passed over in silence, each time."""
    for number in range(100_001):
        (stick / f"{number}").touch()
    done = central("ingest", stick, "--keys", keys, "--store", tmp_path / "store")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        f"error: ingest: {stick}: more than 100000 names",
        "hint: spread the objects over several folders",
    ]
