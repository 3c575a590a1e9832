"""Two ingests beside one store, a folder and an object store: neither knows anything that the other lacks (promise 3)."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from central.keys.keygen import authority
from privacy.records.chains import verify_chain
from privacy.records.jws import sha256_hex
from privacy.records.manifest import PART
from tests.support.broker import until
from tests.support.clips import Node, noise
from tests.support.object_store import ObjectStore
from tests.support.receiving import Answer, Centre, content_md5, receipt_of, split


@dataclass(frozen=True)
class Pair:
    """Two running replicas, and what their store holds below a key: bytes by name, and how many versions of all."""

    first: Centre
    second: Centre
    held: Any
    versions: Any


@pytest.fixture(scope="module")
def objects(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    server = ObjectStore(keys, tmp_path_factory.mktemp("moto"))
    yield server
    server.close()


@pytest.fixture
def node(keys: Path, tmp_path: Path) -> Node:
    return Node(keys, "city/stop-1", tmp_path / "node")


@pytest.fixture(params=["folder", "s3"])
def pair(request: pytest.FixtureRequest, keys: Path, tmp_path: Path) -> Iterator[Pair]:
    store = tmp_path / "store"
    if request.param == "folder":
        first, second = Centre(keys, store), Centre(keys, store)
        pair = Pair(
            first, second, lambda key: (store / key).read_bytes(), lambda key: [str(one) for one in (store / key).iterdir()]
        )
    else:
        server: ObjectStore = request.getfixturevalue("objects")
        bucket, client = server.bucket(), server.client()
        first, second = (Centre(keys, store, f"s3://{bucket}/lykta", server.environment) for _ in range(2))
        pair = Pair(
            first,
            second,
            lambda key: client.get_object(Bucket=bucket, Key=f"lykta/{key}")["Body"].read(),
            lambda key: server.versions(bucket, f"lykta/{key}/"),
        )
    for one in (first, second):
        one.start()
    yield pair
    for one in (first, second):
        with suppress(ProcessLookupError):
            one.end(signal.SIGKILL)
        assert "Traceback" not in one.log.read_text()


def test_what_one_began_the_other_finishes(pair: Pair, node: Node) -> None:
    """Announced at one, looked at and completed at the other; both give the same receipt afterwards."""
    folder = node.clip(noise(PART + 999))
    parts = pair.first.announce(node, folder).body["parts"]
    assert pair.first.put(node, folder, parts[0]).status in (200, 204)
    assert [part["done"] for part in pair.second.look(node, folder).body["parts"]] == [True, False, False]
    answer = pair.second.upload(node, folder)
    assert receipt_of(pair.second, answer).record_sha256 == sha256_hex((folder / "manifest.jws").read_bytes())
    assert pair.first.complete(node, folder).body["receipt"] == answer.body["receipt"]
    assert pair.first.announce(node, folder).body["receipt"] == answer.body["receipt"]
    for name in ("clip.age", "masks.age", "manifest.jws"):
        assert pair.held(f"{node.name}/{folder.name}/{name}") == (folder / name).read_bytes()


def test_one_is_killed_in_the_middle_and_the_other_goes_on(pair: Pair, node: Node) -> None:
    """Promise 3: kill -9 while six uploads run; no part that was answered comes twice, and each receipt given stays true."""
    folders = [node.clip(noise(PART // 2 + 1000 * number)) for number in range(6)]
    given: dict[str, str] = {}

    def upload(folder: Path) -> None:
        with suppress(AssertionError, KeyError, json.JSONDecodeError):  # the server is killed on the way
            answer = pair.first.upload(node, folder)
            if answer.status == 200:
                given[folder.name] = answer.body["receipt"]

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(upload, folder) for folder in folders]
        until(lambda: given, "the first one is through", 60)
        pair.first.end(signal.SIGKILL)
        for one in running:
            one.result()
    for folder in folders:
        answer = pair.second.upload(node, folder)
        assert receipt_of(pair.second, answer).id == folder.name
        assert given.get(folder.name, answer.body["receipt"]) == answer.body["receipt"]
        assert pair.held(f"{node.name}/{folder.name}/clip.age") == (folder / "clip.age").read_bytes()


def test_both_complete_one_clip_at_once(pair: Pair, node: Node) -> None:
    """A receipt each that verifies, about the same bytes, and one object with one version of each sealed file."""
    folder = node.clip(noise(2 * PART))
    for part in pair.first.announce(node, folder).body["parts"]:
        pair.second.put(node, folder, part)
    answers: list[tuple[Centre, Answer]] = []
    start = threading.Barrier(6)

    def complete(centre: Centre) -> None:
        start.wait()
        answers.append((centre, centre.complete(node, folder)))

    threads = [threading.Thread(target=complete, args=(one,)) for one in (pair.first, pair.second) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipts = [receipt_of(centre, answer) for centre, answer in answers]
    assert len(receipts) == 6
    assert {(one.id, one.record_sha256, one.files) for one in receipts} == {
        (folder.name, sha256_hex((folder / "manifest.jws").read_bytes()), node.spool.manifest(folder.name).files)
    }
    for one in answers:
        assert node.spool.check_receipt(one[1].body["receipt"].encode()).clip == folder.name
    names = [key.rpartition("/")[2] for key in pair.versions(f"{node.name}/{folder.name}")]
    assert [names.count(name) for name in ("clip.age", "masks.age")] == [1, 1]
    assert pair.first.look(node, folder).body["receipt"] == pair.second.look(node, folder).body["receipt"]


def test_both_write_one_journal(pair: Pair, node: Node) -> None:
    """R32: entries of both processes stand in one chain that verifies."""
    clips = [node.clip() for _ in range(4)]
    for centre, clip in zip((pair.first, pair.second) * 2, clips, strict=True):
        assert centre.announce(node, clip).status == 200
        token = node.spool.manifest(clip.name)
        node.spool.finish(token)
        assert centre.announce(node, clip).status == 409
    chain = verify_chain(pair.first.keys / "journal", "receipt", authority(pair.first.keys))
    mine = [entry.facts["object"] for entry in chain.entries if entry.kind == "refused"]
    assert mine[-4:] == [clip.name for clip in clips]


def test_a_node_needs_no_key_of_the_object_store(keys: Path, objects: ObjectStore, node: Node, tmp_path: Path) -> None:
    """Parts go to the store itself, past the ingest, with an address and a checksum; the ingest reads back what came.

    Shape only as far as moto goes: it checks neither the signature nor the MD5. That wrong bytes get no receipt is real.
    """
    bucket = objects.bucket()
    centre = Centre(keys, tmp_path / "none", f"s3://{bucket}", objects.environment)
    centre.start()
    try:
        folder = node.clip(noise(PART + 5))
        parts = centre.announce(node, folder).body["parts"]
        assert all(part["url"].startswith(f"https://127.0.0.1:{objects.port}/{bucket}/") for part in parts)
        assert all(part["headers"] == {} for part in parts)
        for part in parts:
            body = split((folder / part["file"]).read_bytes())[part["part"] - 1]
            assert centre.put(node, folder, part, bytes(len(body)), body).status == 200, "moto takes it; a real store would not"
        answer = centre.complete(node, folder)
        assert (answer.status, answer.body["error"]) == (422, "clip.age: sha256: is not what the manifest says")
        assert objects.versions(bucket, f"{node.name}/{folder.name}/clip.age") == []
        assert receipt_of(centre, centre.upload(node, folder)).id == folder.name
        md5 = f"Content-MD5: {content_md5((folder / 'masks.age').read_bytes())}"
        words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", keys / "ca.pem", "-T", folder / "masks.age"]
        late = subprocess.run([*words, "-H", md5, parts[-1]["url"]], capture_output=True, text=True, check=True)
        assert late.stdout in ("404", "500"), "an address is worth nothing once its upload is over (moto: 500)"
        assert not (tmp_path / "none").exists()
    finally:
        centre.end(signal.SIGKILL)
