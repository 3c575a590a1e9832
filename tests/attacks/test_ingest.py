"""What a node may say to the ingest: whatever it is, the answer is a 4xx and the service goes on (14.A1, 14.C11)."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from central.ingest.intake import AnnounceRequest
from central.keys.keygen import issue
from central.store.choose import open_store
from central.store.folder_store import FolderStore
from central.store.limits import MOST_A_DAY, MOST_BYTES, MOST_BYTES_A_DAY
from central.store.port import Store, part_count
from privacy.errors import RequestRejectedError
from privacy.ids import new_clip_id
from privacy.records.journal import Journal, segments
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import MANIFEST, PARCEL, Parcel, SealedFile, read_manifest
from provisioning.identity import load_authority, load_signer, recipients
from tests.support.broker import PATIENCE, until
from tests.support.clips import Node, made, noise
from tests.support.manifests import BEGIN, manifest
from tests.support.object_store import ObjectStore
from tests.support.receiving import Answer, Centre, content_md5, parcel, receipt_of
from tests.support.sweeping import NODE, Desk

NUMBERS = itertools.count(1)
NONE = "0" * 64
GIB = 1 << 30


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("centre") / "keys"
    made("keygen", folder)
    issue(folder, folder / "camera", NODE, "camera")
    return folder


@pytest.fixture
def node(keys: Path, tmp_path: Path) -> Node:
    return Node(keys, f"city/node-{next(NUMBERS)}", tmp_path / "node")


@pytest.fixture(scope="module")
def objects(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    server = ObjectStore(keys, tmp_path_factory.mktemp("moto"))
    yield server
    server.close()


def claim(of: Node, /, **changes: Any) -> tuple[str, str]:
    """The id and the signed manifest of a clip that does not exist; `changes` are what the camera claims, of any type."""
    whole = msgspec.to_builtins(manifest(new_clip_id(next(NUMBERS)), of.name, recipients(of.layout), state="complete"))
    whole["files"] = [{"name": "clip.age", "size": 10, "sha256": NONE}]
    whole |= changes
    return str(whole["clip"]), sign(whole, load_signer(of.layout, "camera"), MANIFEST).decode()


def announce(centre: Centre, node: Node, name: str, token: str, tmp_path: Path, **changes: Any) -> Answer:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"kind": "clip", "id": name, "manifest": token, "md5": {}} | changes))
    return centre.call(node.tls, "POST", "/v1/objects", "--data-binary", f"@{body}")


def still_takes(centre: Centre, node: Node) -> None:
    folder = node.clip()
    assert receipt_of(centre, centre.upload(node, folder)).id == folder.name


def files(*sizes: int | float) -> list[dict[str, Any]]:
    return [
        {"name": name, "size": size, "sha256": NONE}
        for name, size in zip(("clip.age", "masks.age", "tail.age"), sizes, strict=False)
    ]


# -- sizes and counts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10**18, 2**63 - 1, 2**64, 5 * GIB, 2 * GIB + 1, -1, 1e18, "9"])
def test_a_size_costs_no_memory(running: Centre, node: Node, tmp_path: Path, size: Any) -> None:
    assert running.process
    server = psutil.Process(running.process.pid)
    before = server.memory_info().rss
    answer = announce(running, node, *claim(node, files=files(size)), tmp_path)
    assert 400 <= answer.status < 500, answer
    assert server.memory_info().rss - before < 16 << 20
    still_takes(running, node)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"width": 200_000, "height": 200_000}, "$.height"),
        ({"width": 0}, "$.width"),
        ({"frames": 10**12}, "$.frames"),
        ({"frames": -1}, "$.frames"),
        ({"mono_ms": -1}, "$.mono_ms"),
        ({"area": "x" * 40_000}, "$.area"),
        ({"full": {"start": 10**15}}, "$.full"),
        ({"full": {f"cause-{number}": 1 for number in range(5000)}}, "at most 65536 bytes"),
        ({"models": {f"model-{number}": NONE for number in range(500)}}, "$.models"),
        ({"recipients": [f"age1{number}" for number in range(5000)]}, "at most 65536 bytes"),
        ({"files": files(10, 10, 10) + files(10)}, "$.files"),
        ({"files": files(*[GIB] * 3)}, "at most 2147483648 bytes"),
        ({"files": []}, "files: at least one"),
        ({"previous": NONE + "\n"}, "$.previous"),
        ({"zones_sha256": NONE + "\n"}, "$.zones_sha256"),
    ],
    ids=str,
)
def test_what_no_camera_of_ours_would_sign_is_refused(
    running: Centre, node: Node, tmp_path: Path, changes: dict[str, Any], rule: str
) -> None:
    answer = announce(running, node, *claim(node, **changes), tmp_path)
    assert 400 <= answer.status < 500, answer
    assert rule in answer.body["error"]
    still_takes(running, node)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", " ", "\0"])
def test_ids_and_names_end_where_the_text_ends(running: Centre, node: Node, tmp_path: Path, end: str) -> None:
    name = new_clip_id(next(NUMBERS))
    odd = name + end
    for changes in ({"clip": odd}, {"node": node.name.split("/")[1] + end}, {"files": [{**files(1)[0], "name": "clip.age" + end}]}):
        told, token = claim(node, **({"clip": name} | changes))
        answer = announce(running, node, told, token, tmp_path)
        assert 400 <= answer.status < 500, (changes, answer)
    assert announce(running, node, odd, claim(node, clip=name)[1], tmp_path).status in (400, 403)
    path = "".join(f"%{byte:02x}" for byte in end.encode())
    assert running.call(node.tls, "GET", f"/v1/objects/{name}{path}").status == 404
    assert not [path for path in running.store.rglob("*") if path.name != path.name.strip()]


def test_a_node_announces_only_so_much_before_it_completes(keys: Path, node: Node, tmp_path: Path) -> None:
    """150 announces of 5 GB each, and of 1 GiB, and of next to nothing; a neighbour is not kept out, and completing makes room."""
    centre = Centre(keys, tmp_path / "store")
    centre.start()
    try:
        assert {announce(centre, node, *claim(node, files=files(5 * GIB)), tmp_path).status for _ in range(15)} <= {400, 403, 413}
        large = files(GIB)
        md5 = {"clip.age": ["1B2M2Y8AsgTpgAmY7PhCfg=="] * 205}
        answers = [announce(centre, node, *claim(node, files=large), tmp_path, md5=md5) for _ in range(15)]
        assert [answer.status for answer in answers].count(200) == 8
        assert {answer.status for answer in answers} == {200, 429}
        assert "incomplete objects" in answers[-1].body["error"]
        neighbour = Node(keys, f"city/node-{next(NUMBERS)}", tmp_path / "neighbour")
        folder = neighbour.clip()
        small = {"clip.age": ["1B2M2Y8AsgTpgAmY7PhCfg=="]}
        answers = [announce(centre, neighbour, *claim(neighbour, files=files(1)), tmp_path, md5=small) for _ in range(130)]
        assert [answer.status for answer in answers] == [200] * 128 + [429] * 2
        third = Node(keys, f"city/node-{next(NUMBERS)}", tmp_path / "third")
        for _ in range(3):
            still_takes(centre, third)
        assert centre.announce(neighbour, folder).status == 429
    finally:
        centre.end()


def test_what_is_complete_or_gone_makes_room(keys: Path, tmp_path: Path) -> None:
    desk = Desk(keys, FolderStore(tmp_path / "store"), tmp_path / "journal")
    for whole in (True, False):
        for _ in range(200 if whole else 128):
            desk.clip(timedelta(hours=1), whole=whole)
    assert len(list(desk.store.names(f"_index/open/{NODE}"))) == 128
    desk.sweep(timedelta(hours=2))
    assert not list(desk.store.names("_index/open"))
    half = [desk.parcel("report", whole=False) for _ in range(3)]
    desk.sweep(timedelta(days=8))
    assert not list(desk.store.names("_index/open")), "parts that nobody sends on make room after a week"
    assert not list(desk.store.names("_incoming"))
    assert all(desk.here(name) for name in half), "and the object may still come"


def test_a_node_leaves_so_much_in_a_day_and_no_more(keys: Path, tmp_path: Path) -> None:
    """Reports and journals stay for years: one stolen node must not fill the store with them. Its clips are taken all the same."""
    desk = Desk(keys, FolderStore(tmp_path / "store"), tmp_path / "journal")
    for _ in range(MOST_A_DAY):
        desk.parcel("report")
    with pytest.raises(RequestRejectedError, match="today") as refused:
        desk.parcel("report")
    assert refused.value.status == 429, "which a node takes as: later"
    assert refused.value.hint
    desk.clip(timedelta(hours=1))
    desk.now += timedelta(days=1)
    desk.parcel("report")
    assert len(list(desk.store.names("_index/taken"))) == 1, "of earlier days nothing is left"


def test_bytes_of_a_day_are_bounded_too(keys: Path, tmp_path: Path) -> None:
    desk, size = Desk(keys, FolderStore(tmp_path / "store"), tmp_path / "journal"), MOST_BYTES["report"]
    for _ in range(MOST_BYTES_A_DAY // size):
        announce_report(desk, size)
    with pytest.raises(RequestRejectedError, match="today"):
        announce_report(desk, 1)


def announce_report(desk: Desk, size: int) -> None:
    name = new_clip_id(next(NUMBERS))
    record = Parcel(name, "report", "city", "stop-1", "camera", desk.now, (SealedFile("a.json", size, "0" * 64),), {})
    parts = tuple(content_md5(b"") for _ in range(part_count(size)))
    desk.intake.announce(AnnounceRequest("report", name, sign(record, desk.camera(), PARCEL).decode(), {"a.json": parts}), NODE)


# -- times -------------------------------------------------------------------------------------------------------------------

TIMES = [
    "2026-11-27T10:00:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "1969-12-31T23:59:59Z",
    "2200-01-01T00:00:00Z",
    "2026-11-27",
    "2026-02-30T00:00:00Z",
    "2026-11-27T10:00:00+99:99",
    0,
    1e400,
    None,
]


@pytest.mark.parametrize("moment", TIMES, ids=str)
@pytest.mark.parametrize("field", ["begin", "end", "deadline"])
def test_a_date_without_zone_or_out_of_time_is_refused(
    running: Centre, node: Node, tmp_path: Path, field: str, moment: Any
) -> None:
    answer = announce(running, node, *claim(node, **{field: moment}), tmp_path)
    assert 400 <= answer.status < 500, answer


@pytest.mark.parametrize("moment", TIMES, ids=str)
def test_a_parcel_of_no_time_is_refused(running: Centre, node: Node, tmp_path: Path, moment: Any) -> None:
    record: dict[str, Any] = {"id": new_clip_id(next(NUMBERS)), "kind": "diag", "site": "city", "node": node.name[5:], "t": moment}
    record |= {"unit": "uplink", "facts": {}, "files": [{"name": "a.txt", "size": 1, "sha256": NONE}]}
    token = sign(record, load_signer(node.layout, "uplink"), PARCEL).decode()
    assert 400 <= announce(running, node, record["id"], token, tmp_path, kind="diag").status < 500


def test_a_deadline_lies_within_the_greatest_retention(running: Centre, node: Node, tmp_path: Path) -> None:
    """60 days after the clip's end at most; and by the centre's clock, whatever year the node lives in."""
    for days, status in ((60, 200), (61, 400), (60 * 365, 400)):
        answer = announce(running, node, *claim(node, deadline=(BEGIN + timedelta(seconds=3, days=days)).isoformat()), tmp_path)
        assert answer.status == status, answer
    assert announce(running, node, *claim(node, end=(BEGIN - timedelta(hours=1)).isoformat()), tmp_path).status == 400
    issue(running.keys, tmp_path / "late", node.name, "camera")
    far = BEGIN + timedelta(days=300)
    name, token = claim(node, begin=far.isoformat(), end=far.isoformat(), deadline=(far + timedelta(days=3)).isoformat())
    assert announce(running, node, name, token, tmp_path).status == 200
    [mark] = [path for path in (running.store / "_index/deadlines").rglob("*") if path.name.endswith(name)]
    assert datetime.strptime(mark.parent.name, "%Y%m%dT%H%M").replace(tzinfo=UTC) <= datetime.now(UTC) + timedelta(days=60)


# -- bytes that are no record ------------------------------------------------------------------------------------------------

DEEP = "[" * 9000
BODIES = [
    b'{"kind":"clip","id":"%s","manifest":' + DEEP.encode(),
    DEEP.encode() + b"]" * 9000,
    b'{"a":' * 9000 + b"1" + b"}" * 9000,
    b'{"kind":"clip","id":"\xff\xfe","manifest":"x"}',
    b'{"kind":"clip","id":"\\ud800","manifest":"x"}',
    b'{"kind":"clip","id":"x","manifest":"\\ud800.\\udc00.x"}',
    b'{"kind":"clip","id":"x","manifest":1e400}',
    b'{"kind":"clip","id":"x","manifest":' + b"9" * 5000 + b"}",
    b"\xff" * 65536,
    b"9" * 5000,
    b"",
    b"null",
]


@pytest.mark.parametrize("number", range(len(BODIES)))
@pytest.mark.parametrize("path", ["/v1/objects", "/v1/orders/1/answer"])
def test_rubbish_is_answered(running: Centre, node: Node, tmp_path: Path, path: str, number: int) -> None:
    (tmp_path / "body").write_bytes(BODIES[number])
    answer = running.call(node.tls, "POST", path, "--data-binary", f"@{tmp_path / 'body'}")
    assert 400 <= answer.status < 500, answer
    assert answer.body["hint"]


def b64(data: bytes) -> str:
    return msgspec.json.encode(data).decode().strip('"').rstrip("=").replace("+", "-").replace("/", "_")


HEADERS = [DEEP.encode(), b'{"alg":' + DEEP.encode(), b'{"alg":"ES256","typ":"\xff"}', b"9" * 5000, b"{}", b"\xff"]


@pytest.mark.parametrize("number", range(len(HEADERS)))
def test_a_token_that_is_none_is_refused(running: Centre, node: Node, tmp_path: Path, number: int) -> None:
    """Unsigned, as a manifest, a parcel and an answer."""
    token = f"{b64(HEADERS[number])}.e30.AAAA"
    name = new_clip_id(next(NUMBERS))
    for kind in ("clip", "journal", "report", "diag"):
        assert 400 <= announce(running, node, name, token, tmp_path, kind=kind).status < 500
    path = running.store / node.name / "orders/00000001.jws"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"an order")
    words = ["--data-binary", json.dumps({"answer": token})]
    assert 400 <= running.call(node.tls, "POST", "/v1/orders/1/answer", *words).status < 500


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/orders/{'9' * 5000}/answer",
        "/v1/orders/-1/answer",
        "/v1/orders/1%0a/answer",
        "/v1/orders/%d9%a1/answer",
        f"/v1/orders/{'1' * 300}/answer",
        "/v1/objects/%00/complete",
        "/v1/objects/%ff/complete",
        "/%",
        "//x",
    ],
)
def test_a_path_is_answered(running: Centre, node: Node, path: str) -> None:
    answer = running.call(node.tls, "POST", path, "--data-binary", '{"answer":"x"}')
    assert 400 <= answer.status < 500, answer


@pytest.mark.parametrize("number", ["9" * 5000, "0", "00000000000000000000001", "1%0a", "%d9%a1", "1e3", str(2**63)])
def test_a_part_that_cannot_be_is_answered(running: Centre, node: Node, number: str) -> None:
    folder = node.clip()
    assert running.announce(node, folder).status == 200
    answer = running.call(node.tls, "PUT", f"/v1/objects/{folder.name}/parts/clip.age/{number}", "--data-binary", "x")
    assert answer.status == 404, answer


@pytest.mark.parametrize("header", ["Host: [", "Host: ]:x", "Content-MD5: ÿþ", "Content-Length: 99999999999999999999", "Expect: x"])
def test_a_header_is_answered(running: Centre, node: Node, header: str) -> None:
    for path in ("/v1/objects", "/nothing"):
        words = running.curl(node.tls, "-X", "POST", "-H", header, "-m", "40", "--data-binary", "x", path=path)
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE * 60, check=False)
        assert done.stdout.rpartition("\n")[2][0] in "40", done
    still_takes(running, node)


def test_who_hangs_up_in_the_middle_leaves_nothing(running: Centre, node: Node, tmp_path: Path) -> None:
    """And no traceback in the log, which the fixture looks for."""
    folder = node.clip(noise(3 << 20))
    part = running.announce(node, folder).body["parts"][0]
    (tmp_path / "part").write_bytes((folder / "clip.age").read_bytes())
    words = running.curl(node.tls, "--limit-rate", "200k", "-T", tmp_path / "part", path=part["url"])
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as slow:
        until(lambda: any(path.stat().st_size for path in running.store.glob(f"_incoming/*{folder.name}/.clip*")), "it has begun")
        slow.kill()
    until(lambda: not list(running.store.glob(f"_incoming/*{folder.name}/.clip*")), "what came is gone")
    assert receipt_of(running, running.upload(node, folder)).id == folder.name


# -- what is kept for evidence ---------------------------------------------------------------------------------------------


def test_a_clip_keeps_only_so_many_other_manifests(running: Centre, node: Node, tmp_path: Path) -> None:
    name = new_clip_id(next(NUMBERS))
    told = [announce(running, node, *claim(node, clip=name, mono_ms=number), tmp_path).status for number in range(30)]
    assert told == [200] + [409] * 29
    assert len(list((running.store / node.name / name / "other").iterdir())) <= 8


def test_only_so_many_broken_segments_are_kept_aside(running: Centre, node: Node, tmp_path: Path) -> None:
    """And the true one can still come."""
    Journal(tmp_path / "diary", "io", load_signer(node.layout, "io"), lambda: datetime.now(UTC)).append("tick")
    [path] = segments(tmp_path / "diary")
    data = path.read_bytes()
    facts = {"unit": "io", "first": 0, "last": 0, "head": sha256_hex(data.splitlines()[-1]), "previous": ""}
    for _ in range(54):
        broken = parcel(node, "journal", {path.name: b"x\n"}, "uplink", facts)
        assert running.upload(node, broken, "journal").status == 422
    place = running.store / node.name / "journal/io"
    assert len(list((place / "refused").glob("*.parcel.jws"))) == 50
    assert not list((running.store / "_index/open" / node.name).rglob("*"))
    assert running.upload(node, parcel(node, "journal", {path.name: data}, "uplink", facts), "journal").status == 200


# -- the sweep -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    server: ObjectStore = request.getfixturevalue("objects")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{server.bucket()}")


BROKEN = ["2026-11-27T10:00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]


def spoil(desk: Desk, name: str, moment: str) -> None:
    """As an ingest from before these bounds announced it: the manifest's end, and when it is due, are such a moment."""
    record = msgspec.to_builtins(manifest(name, NODE, ())) | {
        "state": "complete",
        "begin": moment,
        "end": moment,
        "deadline": moment,
    }
    token = sign(record, desk.camera(), MANIFEST).decode()
    entry = {"kind": "clip", "id": name, "manifest": token, "md5": {}, "due": moment}
    desk.store.put(f"_index/announced/{NODE}/{name}.json", json.dumps(entry).encode())
    desk.store.put(f"_index/deadlines/{BEGIN:%Y%m%dT%H%M}/{NODE.replace('/', '~')}~{name}", b"")


@pytest.mark.parametrize("moment", BROKEN)
def test_one_object_that_cannot_be_judged_stops_no_other(keys: Path, store: Store, tmp_path: Path, moment: str) -> None:
    """Neither its mark nor an order about a span of time that has to look at it."""
    desk = Desk(keys, store, tmp_path / "journal")
    good, erased = desk.clip(timedelta(hours=1)), desk.clip(timedelta(hours=9))
    broken = tuple(new_clip_id(1_000_000 * (number + next(NUMBERS))) for number in (0, 2**47))
    for name in broken:
        spoil(desk, name, moment)
    for key in (
        "_index/deadlines/99999999T9999/city~stop-1~x",
        f"_index/deadlines/00000101T0000/{'~' * 9}",
        "_index/deadlines/x/\x01",
    ):
        with suppress(OSError):
            store.put(key, b"")
    desk.order("erase", 1, timedelta(0), timedelta(hours=8), since=BEGIN, to=BEGIN + timedelta(minutes=5))
    swept = desk.sweep(timedelta(hours=1), failed=broken)
    assert {good, erased} <= set(swept)
    assert not [key for name in (good, erased) for key in desk.here(name) if "/deadlines/" not in key]
    assert desk.entries("fault")


def test_an_ingest_starts_and_deletes_beside_an_object_without_zone(keys: Path, tmp_path: Path) -> None:
    """As a process: at the start, and while it runs."""
    centre = Centre(keys, tmp_path / "store")
    desk = Desk(keys, FolderStore(centre.store), tmp_path / "journal")
    spoil(desk, new_clip_id(1_000_000 * next(NUMBERS)), BROKEN[0])
    desk.order("erase", 1, timedelta(days=-1), timedelta(days=3), since=BEGIN - timedelta(days=9), to=BEGIN + timedelta(days=9))
    whole = [desk.clip(timedelta(days=2), begin=timedelta(days=10)) for _ in range(2)]
    desk.order("erase", 2, timedelta(days=-1), timedelta(days=3), clips=tuple(whole))
    centre.start()
    try:
        until(lambda: not any((centre.store / NODE / name / "clip.age").exists() for name in whole), "what an order erases is gone")
        assert centre.process
        assert centre.process.poll() is None
    finally:
        assert centre.end() in (0, -signal.SIGTERM)
    assert "Traceback" not in centre.log.read_text()


def test_an_order_that_names_clips_and_a_span_is_about_both(keys: Path, tmp_path: Path) -> None:
    """As the node judges it; the centre took the span alone."""
    desk = Desk(keys, FolderStore(tmp_path / "store"), tmp_path / "journal")
    named, filmed, other = (desk.clip(timedelta(days=2), begin=timedelta(hours=hour)) for hour in (1, 2, 3))
    span = {"since": BEGIN + timedelta(hours=2), "to": BEGIN + timedelta(hours=2, minutes=5)}
    desk.order("erase", 1, timedelta(0), timedelta(days=1), clips=(named,), **span)
    assert sorted(desk.sweep(timedelta(hours=4))) == sorted([named, filmed])
    assert desk.here(other)


def test_the_nodes_own_manifests_are_within_the_bounds(node: Node) -> None:
    folder = node.clip()
    assert read_manifest((folder / "manifest.jws").read_bytes(), load_authority(node.layout))[0].clip == folder.name
