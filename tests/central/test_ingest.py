"""The ingest as a real process over real TLS, spoken to with curl: what other software would have to do."""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from starlette.applications import Starlette

from central.ingest.server import serve
from central.keys.keygen import signer
from privacy.errors import RecordError, StorageError
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import PART, RECEIPT, Receipt
from tests.support.broker import PATIENCE, free_port, until
from tests.support.clips import Node, central, made, noise
from tests.support.receiving import Centre, content_md5, receipt_of


@pytest.fixture(scope="module")
def neighbour(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(keys, "city/stop-2", tmp_path_factory.mktemp("neighbour"))


@pytest.fixture
def start(keys: Path, tmp_path: Path) -> Iterator[Callable[[], Centre]]:
    """A server of the test's own, ended whatever happens."""
    centre = Centre(keys, tmp_path / "store")

    def begin() -> Centre:
        centre.start()
        return centre

    yield begin
    with suppress(ProcessLookupError):
        centre.end(signal.SIGKILL)


# -- the way of a clip ------------------------------------------------------------------------------------------------


def test_a_clip_arrives_whole_and_its_receipt_frees_it(running: Centre, node: Node) -> None:
    """Promise 3: what the centre stores is what the node sealed, and the node's own check takes the receipt."""
    folder = node.clip(noise(PART + 4321))
    announced = running.announce(node, folder)
    assert announced.status == 200
    assert (announced.body["schema"], announced.body["id"], announced.body["receipt"]) == ("lykta.object/1", folder.name, None)
    answer = running.upload(node, folder)
    receipt = receipt_of(running, answer)
    assert receipt.record_sha256 == sha256_hex((folder / "manifest.jws").read_bytes())
    assert node.spool.check_receipt(answer.body["receipt"].encode()).clip == folder.name
    home = running.home(node, folder)
    assert sorted(path.name for path in home.iterdir()) == ["clip.age", "manifest.jws", "masks.age", "receipt.jws"]
    for name in ("clip.age", "masks.age", "manifest.jws"):
        assert (home / name).read_bytes() == (folder / name).read_bytes()
    assert (home / "receipt.jws").read_text() == answer.body["receipt"]
    assert not list((running.store / "_incoming").iterdir())


def test_parts_cover_every_byte_once(running: Centre, node: Node) -> None:
    folder = node.clip(noise(2 * PART + 99))
    parts = running.announce(node, folder).body["parts"]
    for name in ("clip.age", "masks.age"):
        mine = [part for part in parts if part["file"] == name]
        assert [part["part"] for part in mine] == list(range(1, len(mine) + 1))
        at = 0
        for part in mine:
            assert part["offset"] == at
            assert 0 < part["size"] <= PART
            at += part["size"]
        assert at == (folder / name).stat().st_size


def test_every_call_may_be_repeated(running: Centre, node: Node) -> None:
    """A lost answer costs nothing: the same receipt comes again, byte for byte, and nothing changes."""
    folder = node.clip()
    first = running.announce(node, folder).body["parts"]
    assert running.announce(node, folder).body["parts"] == first
    for part in first:
        assert [running.put(node, folder, part).status for _ in range(2)] == [204, 204]
    receipt = running.complete(node, folder).body["receipt"]
    assert running.complete(node, folder).body["receipt"] == receipt
    for answer in (running.announce(node, folder), running.look(node, folder)):
        assert (answer.status, answer.body["receipt"], answer.body["parts"]) == (200, receipt, [])
    before = (running.home(node, folder) / first[0]["file"]).read_bytes()
    running.put(node, folder, first[0], b"late")
    assert (running.home(node, folder) / first[0]["file"]).read_bytes() == before


def test_two_completes_at_once_give_one_receipt(running: Centre, node: Node) -> None:
    """A node that gave up waiting asks again while the first answer is still being made."""
    folder = node.clip(noise(4 * PART))
    for part in running.announce(node, folder).body["parts"]:
        running.put(node, folder, part)
    words = running.curl(node.tls, "-X", "POST", path=f"/v1/objects/{folder.name}/complete")
    asked = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    answers = {one.communicate(timeout=PATIENCE * 60)[0] for one in asked}
    assert len(answers) == 1
    assert answers.pop().endswith("\n200")
    assert (running.home(node, folder) / "clip.age").read_bytes() == (folder / "clip.age").read_bytes()


def test_killed_midway_it_goes_on_from_the_disk(start: Callable[[], Centre], node: Node) -> None:
    """Promise 3: a part that was answered survives kill -9; a torn one is asked for again."""
    centre = start()
    folder = node.clip(noise(2 * PART + 5000))
    first, second, *_ = centre.announce(node, folder).body["parts"]
    assert centre.put(node, folder, first).status == 204
    piece = folder.parent / "slow"
    piece.write_bytes((folder / "clip.age").read_bytes()[PART : 2 * PART])
    slowly = ["--limit-rate", "200k", "-T", piece, "-H", f"Content-MD5: {content_md5(piece.read_bytes())}"]
    with subprocess.Popen(
        centre.curl(node.tls, *slowly, path=second["url"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as slow:
        until(
            lambda: any(path.stat().st_size for path in centre.store.glob("_incoming/*/.clip.age*")), "the second part is running"
        )
        centre.end(signal.SIGKILL)
        assert slow.wait(PATIENCE * 20) != 0
    start()
    done = {(part["file"], part["part"]): part["done"] for part in centre.look(node, folder).body["parts"]}
    assert done == {("clip.age", 1): True, ("clip.age", 2): False, ("clip.age", 3): False, ("masks.age", 1): False}
    assert receipt_of(centre, centre.upload(node, folder)).id == folder.name
    assert (centre.home(node, folder) / "clip.age").read_bytes() == (folder / "clip.age").read_bytes()


def test_a_receipt_survives_a_kill(start: Callable[[], Centre], node: Node) -> None:
    """Promise 3: the receipt is on the disk before it is given."""
    centre = start()
    folder = node.clip()
    receipt = centre.upload(node, folder).body["receipt"]
    centre.end(signal.SIGKILL)
    start()
    assert centre.look(node, folder).body["receipt"] == receipt


def test_pieces_do_not_outlive_their_object(start: Callable[[], Centre], node: Node) -> None:
    """R27: killed after the object appeared and before its pieces were gone, the node's next question removes them."""
    centre = start()
    folder, other = node.clip(), node.clip()
    for part in centre.announce(node, folder).body["parts"]:
        centre.put(node, folder, part)
    centre.put(node, other, centre.announce(node, other).body["parts"][0])
    incoming = centre.store / "_incoming"
    [pieces] = incoming.glob(f"*{folder.name}")
    shutil.copytree(pieces, centre.store.with_name("pieces"))
    receipt = centre.complete(node, folder).body["receipt"]
    centre.end(signal.SIGKILL)
    shutil.move(centre.store.with_name("pieces"), pieces)
    start()
    assert centre.complete(node, folder).body["receipt"] == receipt
    assert [path.name.rpartition("~")[2] for path in incoming.iterdir()] == [other.name]
    assert [part["done"] for part in centre.look(node, other).body["parts"]] == [True, False]


def test_a_receipt_is_given_only_for_what_is_on_the_disk(keys: Path, node: Node, tmp_path: Path) -> None:
    """Promise 3: seen from the system calls. Each file is synced before it takes its name, each folder before the receipt
    takes its own, and the receipt's folder before the node hears of it.
    """
    calls = tmp_path / "calls"
    centre = Centre(keys, tmp_path / "store")
    centre.start(["strace", "-f", "-y", "-s", "512", "-e", "trace=fsync,rename,renameat,sendto,write", "-o", calls])
    folder = node.clip(noise(PART + 10))
    assert centre.upload(node, folder).status == 200
    assert centre.process
    [server] = psutil.Process(centre.process.pid).children()
    server.terminate()
    centre.process.wait(PATIENCE * 20)
    home = centre.home(node, folder)
    # By descriptor or by path, a name is read the same: renameat(7</store/a>, ".x.part", 7</store/a>, "x").
    lines = [re.sub(r'\d+<([^>]*)>, "([^"]*)"', r'"\1/\2"', line) for line in calls.read_text().splitlines()]

    def at(*words: str) -> int:
        """The first system call with all these words."""
        return next(number for number, line in enumerate(lines) if all(word in line for word in words))

    receipt = at("rename", f'"{home}/receipt.jws"')
    for name in ("clip.age", "masks.age", "manifest.jws", "receipt.jws"):
        named = next(line for line in lines if "rename" in line and f'"{home}/{name}"' in line)
        source = named.split('"')[1]
        before = [line for line in lines[: lines.index(named)] if f'"{source}"' in line and "rename" in line]
        written = before[-1].split('"')[1] if before else source  # a part that is a whole file is moved twice
        assert at("fsync(", f"<{written}>") < at(named), name
    named = [at("rename", f'"{home}/{name}"') for name in ("clip.age", "masks.age", "manifest.jws")]
    synced = [number for number, line in enumerate(lines) if "fsync(" in line and f"<{home}>" in line]
    assert all(any(one < sync < receipt for sync in synced) for one in named)
    assert at("fsync(", f"<{home.parent}>") < receipt, "the folder's own name"
    marks = [line for line in lines[:receipt] if "fsync(" in line and "/_index/deadlines/" in line]
    assert marks, "and that it will be deleted"
    told = next(number for number, line in enumerate(lines) if number > receipt and "socket:" in line)
    assert any(receipt < sync < told for sync in synced), "the receipt's name is on the disk before the node hears of it"


def test_memory_does_not_grow_with_the_clip(start: Callable[[], Centre], node: Node) -> None:
    centre = start()
    assert centre.process
    server = psutil.Process(centre.process.pid)
    centre.upload(node, node.clip(noise(1000)))
    before = server.memory_info().rss
    centre.upload(node, node.clip(noise(64 << 20)))
    assert server.memory_info().rss - before < 16 << 20


# -- what is not taken ------------------------------------------------------------------------------------------------


def test_a_part_damaged_on_the_way_is_not_kept(running: Centre, node: Node) -> None:
    folder = node.clip()
    part = running.announce(node, folder).body["parts"][0]
    good = (folder / part["file"]).read_bytes()
    damaged = bytes([good[0] ^ 1]) + good[1:]
    for body, md5 in ((damaged, good), (good[:-1], good[:-1]), (b"", b"")):
        answer = running.put(node, folder, part, body, md5)
        assert (answer.status, answer.body["hint"]) == (422, "send this part again")
        assert not running.look(node, folder).body["parts"][0]["done"]
    assert receipt_of(running, running.upload(node, folder)).id == folder.name


def test_a_part_longer_than_announced_is_cut_off(running: Centre, node: Node) -> None:
    folder = node.clip()
    part = running.announce(node, folder).body["parts"][0]
    assert running.put(node, folder, part, noise(part["size"] + 1)).status == 413
    assert not running.look(node, folder).body["parts"][0]["done"]


def test_bytes_other_than_the_manifests_get_no_receipt(running: Centre, node: Node) -> None:
    """A tampered part with a good checksum: the manifest's hash finds it, and the true one can still come."""
    folder = node.clip(noise(PART + 10))
    parts = running.announce(node, folder).body["parts"]
    for part in parts:
        running.put(node, folder, part, noise(part["size"]) if part["file"] == "clip.age" else None)
    answer = running.complete(node, folder)
    assert (answer.status, answer.body["error"]) == (422, "clip.age: sha256: is not what the manifest says")
    assert not list(running.home(node, folder).glob("*.jws"))
    assert [part["done"] for part in running.look(node, folder).body["parts"]] == [False, False, True]
    assert receipt_of(running, running.upload(node, folder)).id == folder.name


def test_an_incomplete_clip_gets_no_receipt(running: Centre, node: Node) -> None:
    folder = node.clip()
    running.announce(node, folder)
    answer = running.complete(node, folder)
    assert (answer.status, answer.body["error"]) == (409, f"object {folder.name}: 2 parts are missing")


def test_a_clip_has_one_manifest_for_ever(running: Centre, node: Node) -> None:
    folder = node.clip()
    assert running.announce(node, folder).status == 200
    again = node.spool.manifest(folder.name)
    node.spool.finish(again)  # the same clip, chained to another one: another token
    assert running.announce(node, folder).status == 409


def test_a_running_clip_is_not_taken(running: Centre, node: Node) -> None:
    """A checkpoint, stolen from the spool and announced first, must not keep the real clip out."""
    folder = node.clip(state="open")
    answer = running.announce(node, folder)
    assert (answer.status, answer.body["hint"]) == (400, "announce the clip when it is finished")


# -- who may --------------------------------------------------------------------------------------------------------


def test_another_node_may_do_nothing_with_a_clip(running: Centre, node: Node, neighbour: Node) -> None:
    """Identity from the certificate, never from the body: neither the neighbour's, nor one for signing, nor the operator's."""
    folder = node.clip()
    part = running.announce(node, folder).body["parts"][0]
    for tls in (neighbour.tls, node.layout.credentials / "camera", running.keys / "ops"):
        answers = [
            running.announce(node, folder, tls=tls),
            running.call(tls, "GET", f"/v1/objects/{folder.name}"),
            running.call(tls, "PUT", part["url"], "--data-binary", "x"),
            running.call(tls, "POST", f"/v1/objects/{folder.name}/complete"),
        ]
        # With a node's certificate one is known, and what is another's is not there.
        assert [answer.status for answer in answers] == [403] + ([404] * 3 if tls == neighbour.tls else [403] * 3)
        assert all(answer.body["error"] and answer.body["hint"] for answer in answers)
    assert not running.look(node, folder).body["parts"][0]["done"]


def test_who_has_no_certificate_of_this_centre_gets_no_answer(running: Centre, tmp_path: Path) -> None:
    """The connection ends before HTTP: a foreign CA with the node's very names, and none at all."""
    made("keygen", tmp_path / "other")
    foreign = Node(tmp_path / "other", "city/stop-1", tmp_path / "node")
    strange = running.curl(foreign.tls, path="/v1/objects")
    nobody = strange.copy()
    del nobody[nobody.index("--cert") : nobody.index("--key") + 2]
    for words in (strange, nobody):
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE * 20, check=False)
        assert done.returncode in (35, 52, 55, 56), done.stderr  # TLS, or cut off before an answer
        assert done.stdout == "\n000"


@pytest.mark.parametrize("unit", ["io", "uplink", "retention"])
def test_only_the_camera_signs_manifests(running: Centre, node: Node, unit: Any) -> None:
    """A broken uplink cannot make up a clip."""
    answer = running.announce(node, node.clip(spool=node.spool_of(unit)))
    assert (answer.status, answer.body["error"]) == (403, f"lykta-manifest: signer has the role '{unit}', not 'camera'")


def test_a_camera_speaks_only_for_its_own_node(running: Centre, node: Node, neighbour: Node) -> None:
    """The camera of one node signs a clip of the other: refused with either certificate."""
    folder = node.clip(node="stop-2")
    assert [running.announce(node, folder, tls=tls).status for tls in (node.tls, neighbour.tls)] == [403, 403]


def test_a_changed_manifest_is_refused(running: Centre, node: Node) -> None:
    folder = node.clip()
    header, payload, signature = (folder / "manifest.jws").read_text().split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "=="))
    payload = base64.urlsafe_b64encode(json.dumps(said | {"full": {}}).encode()).decode().rstrip("=")
    (folder / "manifest.jws").write_text(f"{header}.{payload}.{signature}")
    assert running.announce(node, folder).status == 403


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"kind":"clip"}', '{"kind":"clip","id":"../../x","manifest":""}', "\x00" * 300_000],
    ids=["empty", "a list", "nothing", "half", "a path as id", "huge"],
)
def test_rubbish_is_refused_in_json(running: Centre, node: Node, tmp_path: Path, body: str) -> None:
    (tmp_path / "body").write_text(body)
    answer = running.call(node.tls, "POST", "/v1/objects", "--data-binary", f"@{tmp_path / 'body'}")
    assert answer.status in (400, 413)
    assert answer.body["error"]
    assert answer.body["hint"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/objects/../../../etc/passwd",
        "/v1/objects/..%2f..%2fetc%2fpasswd",
        "/v1/objects/{id}/parts/..%2f..%2fmanifest.jws/1",
        "/v1/objects/{id}/parts/manifest.jws/1",
        "/v1/objects/{id}/parts/clip.age/0",
        "/v1/objects/{id}/parts/clip.age/2",
        "/v1/objects/{id}/parts/clip.age/-1",
        "/v1/objects/019ad000-0000-7000-8000-000000000000/parts/clip.age/1",
    ],
)
def test_no_path_leads_elsewhere(running: Centre, node: Node, path: str) -> None:
    folder = node.clip()
    running.announce(node, folder)
    before = sorted(running.store.rglob("*"))
    for method in ("GET", "PUT"):
        answer = running.call(node.tls, method, path.replace("{id}", folder.name), "--data-binary", "x")
        assert answer.status in (404, 405)
        assert answer.body["error"]
    assert sorted(running.store.rglob("*")) == before


def test_the_centres_own_trouble_is_told_in_json(start: Callable[[], Centre], node: Node) -> None:
    """The node must learn that trying again can help, and nothing of the centre's disk."""
    centre = start()
    folder, index = node.clip(), centre.store / "_index"
    index.write_text("a file where a folder should be")
    answer = centre.announce(node, folder)
    assert answer.status == 500
    assert answer.body["error"].startswith("POST /v1/objects: ")
    assert str(centre.store) not in str(answer.body)
    assert "try again" in answer.body["hint"]
    index.unlink()
    assert receipt_of(centre, centre.upload(node, folder)).id == folder.name


def test_a_foreign_receipt_frees_nothing(running: Centre, node: Node, tmp_path: Path) -> None:
    """Another centre's ingest, though it took the very same clip: the node's spool keeps it."""
    made("keygen", tmp_path / "other")
    folder = node.clip()
    known = node.spool.manifest(folder.name)
    forged = Receipt(
        known.clip, "clip", known.site, known.node, sha256_hex((folder / "manifest.jws").read_bytes()), known.files, known.end
    )
    with pytest.raises(RecordError, match="not of this centre"):
        node.spool.check_receipt(sign(forged, signer(tmp_path / "other", "receipt"), RECEIPT))
    with pytest.raises(RecordError, match="carries no certificate"):
        node.spool.check_receipt(sign(forged, signer(running.keys, "basis"), RECEIPT))


def test_it_does_not_go_on_when_it_no_longer_deletes(keys: Path) -> None:
    """R27, crash-only: whatever ends the thread that deletes ends the server, and not with exit code 0."""
    with pytest.raises(StorageError, match="the deletion thread ended"):
        serve(Starlette(), keys, "127.0.0.1", free_port(), lambda stop: None)


def test_without_keys_it_does_not_start(tmp_path: Path) -> None:
    done = central("ingest", "--keys", tmp_path / "none", "--store", tmp_path / "store")
    assert done.returncode == 7
    assert done.stderr.startswith("error: keys: ")
    assert "hint: " in done.stderr
