"""The store's port: one suite over both adapters, a local folder and an S3-compatible store (moto over TLS)."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from central.keys.keygen import keygen
from central.store.choose import open_store
from central.store.folder_store import FolderStore
from central.store.port import Part, PartWriter, Store, Upload, deadline_key, parse_deadline_key
from central.store.s3_store import S3Store
from privacy.errors import RequestRejectedError, SealError, UnreachableError, UsageError
from privacy.ids import new_clip_id
from privacy.records.manifest import PART, SealedFile
from tests.support.broker import PATIENCE
from tests.support.clips import central, noise
from tests.support.manifests import BEGIN, manifest
from tests.support.object_store import ObjectStore
from tests.support.receiving import content_md5

NODE = "city/stop-1"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "keys"
    keygen(folder, ["127.0.0.1"])
    return folder


@pytest.fixture(scope="module")
def objects(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    server = ObjectStore(keys, tmp_path_factory.mktemp("moto"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.close()


@dataclass(frozen=True)
class Shop:
    """A store twice, as two processes would have it, and a count of every version that it keeps below a key."""

    name: str
    store: Store
    other: Store
    kept: Any


@pytest.fixture(params=["folder", "s3"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    if request.param == "folder":
        first, second = FolderStore(tmp_path / "store"), FolderStore(tmp_path / "store")
        return Shop(
            "folder", first, second, lambda key: [path for path in (tmp_path / "store").glob(f"{key}/**/*") if path.is_file()]
        )
    server: ObjectStore = request.getfixturevalue("objects")
    bucket = server.bucket()
    where = f"s3://{bucket}/some/where"
    return Shop("s3", open_store(where), open_store(where), lambda key: server.versions(bucket, f"some/where/{key}/"))


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def store(shop: Shop) -> Store:
    return shop.store


def upload(files: dict[str, bytes]) -> Upload:
    """An object of these files, as its record would have it."""
    clip = manifest(new_clip_id(time.time_ns()), NODE, ())
    sealed = tuple(SealedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items())
    md5 = {
        name: tuple(content_md5(data[at : at + PART]) for at in range(0, max(1, len(data)), PART)) for name, data in files.items()
    }
    keys = {name: f"{NODE}/{clip.id}/{name}" for name in files}
    return Upload(clip.id, NODE, sealed, keys, md5)


def send(store: Store, wanted: Upload, part: Part, data: bytes, md5: str = "") -> None:
    span = wanted.part_range(part.file, part.part)
    assert span
    body = data[part.offset : part.offset + part.size]
    with PartWriter(store.part_sink(wanted, span), span) as out:
        for at in range(0, len(body), 1 << 20):
            out.write(body[at : at + (1 << 20)])
        out.keep(md5 or content_md5(body))


def done(store: Store, wanted: Upload) -> list[bool]:
    return [part.done for part in store.parts(wanted)]


# -- records ------------------------------------------------------------------------------------------------------------


def test_a_record_is_absent_or_the_newest_one(shop: Shop) -> None:
    """What one process put, another reads; nothing is where nothing was put."""
    assert shop.store.get("a/b/c.jws") is None
    assert shop.store.get("a") is None
    for data in (b"one", b"two", b""):
        shop.store.put("a/b/c.jws", data)
        assert shop.other.get("a/b/c.jws") == data
    assert shop.store.get("a/b") is None


def test_names_come_in_order_and_only_from_below(store: Store) -> None:
    """Deadlines are read in the order of time, and a name that begins like a folder's is not in it."""
    keys = [f"d/{minute}/{name}" for minute in ("202601010000", "202601010001", "209912312359") for name in ("a~b~1", "a~b~2")]
    for key in reversed(keys):
        store.put(key, b"")
    store.put("d2/x", b"")
    assert list(store.names("d")) == keys
    assert list(store.names("nowhere")) == []
    names = store.names("d")
    assert next(names) == keys[0]
    assert store.folders("d") == ["202601010000", "202601010001", "209912312359"]
    assert store.folders("nowhere") == []


def test_what_is_erased_leaves_no_version(shop: Shop) -> None:
    """R28: every version, of everything below, and of nothing else."""
    for number in range(3):
        shop.store.put("a/b/one", bytes([number]))
    shop.store.put("a/b/two", b"2")
    shop.store.put("a/bc", b"stays")
    assert shop.store.erase("a/b") == (4 if shop.name == "s3" else 2)
    assert not shop.kept("a/b")
    assert shop.other.get("a/b/one") is None
    assert shop.store.get("a/bc") == b"stays"
    assert shop.store.erase("a/b") == 0
    assert shop.store.erase("a/bc") == 1
    assert list(shop.store.names("a")) == []


def test_records_come_and_go_at_once(shop: Shop) -> None:
    """A folder that one process finds empty and takes away is one that another is about to use."""
    failed: list[BaseException] = []

    def work(store: Store, name: str) -> None:
        try:
            for _ in range(60 if shop.name == "folder" else 5):
                store.put(f"m/1/{name}", b"x")
                store.erase(f"m/1/{name}")
        except BaseException as problem:  # noqa: BLE001 (told below)
            failed.append(problem)

    threads = [threading.Thread(target=work, args=(one, name)) for name, one in (("a", shop.store), ("b", shop.other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert list(shop.store.names("m")) == []


def test_a_mark_says_when_who_and_what() -> None:
    name = new_clip_id(time.time_ns())
    mark = deadline_key(BEGIN.replace(second=59), NODE, name)
    assert parse_deadline_key(mark) == (f"{BEGIN:%Y%m%dT%H%M}", NODE, name)


# -- uploads ------------------------------------------------------------------------------------------------------------


def test_files_arrive_in_parts_and_are_read_back(shop: Shop) -> None:
    """Promise 3: what is joined is what the store itself reads, of files with one part, several, and an empty one."""
    files = {"clip.age": noise(2 * PART + 7), "masks.age": noise(300), "tail.age": b""}
    if shop.name == "s3":
        del files["tail.age"]  # no such clip exists: a sealed file has a header
    wanted = upload(files)
    for part in shop.store.parts(wanted):
        assert not part.done
        send(shop.other, wanted, part, files[part.file])
    assert all(done(shop.store, wanted))
    assert shop.store.join(wanted) == wanted.files
    for name, data in files.items():
        assert shop.other.get(wanted.keys[name]) == data
    assert all(done(shop.other, wanted)), "after a crash before the receipt nothing is sent again"
    assert shop.other.join(wanted) == wanted.files
    shop.store.discard(wanted)
    assert len(shop.kept(f"{NODE}/{wanted.id}")) == len(files), "one object, once"


def test_a_part_that_came_need_not_come_again(shop: Shop) -> None:
    """Resumed by any process, from what the store itself has (ListParts there)."""
    data = noise(3 * PART)
    wanted = upload({"clip.age": data})
    parts = shop.store.parts(wanted)
    send(shop.store, wanted, parts[1], data)
    assert done(shop.other, wanted) == [False, True, False]
    assert done(shop.other, wanted) == [False, True, False]


def test_a_wrong_part_is_not_kept(store: Store) -> None:
    data = noise(900)
    wanted = upload({"clip.age": data})
    [part] = store.parts(wanted)
    for body, md5 in ((data[:-1], content_md5(data[:-1])), (data, content_md5(b"other")), (data, "rubbish")):
        with pytest.raises(SealError, match="Content-MD5 or size"):
            send(store, wanted, part, body, md5)
    [span] = wanted.part_ranges(wanted.files[0])
    with (
        pytest.raises(RequestRejectedError, match="longer than the 900 bytes"),
        PartWriter(store.part_sink(wanted, span), span) as out,
    ):
        out.write(data + b"x")
    assert done(store, wanted) == [False]


def test_wrong_bytes_are_read_back_as_what_they_are(store: Store) -> None:
    """Whoever may write to the store cannot make it say what is not there."""
    data = noise(900)
    wanted = upload({"clip.age": data})
    [part] = store.parts(wanted)
    send(store, wanted, part, bytes(900))
    [found] = store.join(wanted)
    assert found.sha256 == hashlib.sha256(bytes(900)).hexdigest() != wanted.files[0].sha256
    store.erase(wanted.keys["clip.age"])
    assert done(store, wanted) == [False]
    send(store, wanted, part, data)
    assert store.join(wanted) == wanted.files


def test_an_upload_that_is_discarded_leaves_no_part(shop: Shop) -> None:
    """R27: what never became whole goes too; open multipart uploads are aborted."""
    data = noise(2 * PART)
    wanted = upload({"clip.age": data})
    send(shop.store, wanted, shop.store.parts(wanted)[0], data)
    shop.store.discard(wanted)
    assert done(shop.other, wanted) == [False, False]
    shop.other.discard(wanted)
    shop.other.discard(wanted)
    assert not shop.kept(f"{NODE}/{wanted.id}")


def test_two_join_one_object_at_once(shop: Shop) -> None:
    """As the ingest does it: below the lock, which an object store does not have."""
    data = noise(PART + 100)
    wanted, found = upload({"clip.age": data, "masks.age": b"masks"}), list[tuple[SealedFile, ...]]()
    for part in shop.store.parts(wanted):
        send(shop.store, wanted, part, data if part.file == "clip.age" else b"masks")

    def join(store: Store) -> None:
        with store.lock("object", wanted.id):
            found.append(store.join(wanted))

    threads = [threading.Thread(target=join, args=(one,)) for one in (shop.store, shop.other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted.files] * 4
    assert len(shop.kept(f"{NODE}/{wanted.id}")) == 2


def test_a_node_may_send_the_same_part_to_two_at_once(shop: Shop) -> None:
    data = noise(1000)
    wanted = upload({"clip.age": data})
    [part] = shop.store.parts(wanted)
    [span] = wanted.part_ranges(wanted.files[0])
    with (
        PartWriter(shop.store.part_sink(wanted, span), span) as slow,
        PartWriter(shop.other.part_sink(wanted, span), span) as quick,
    ):
        slow.write(data[:500])
        quick.write(data)
        quick.keep(content_md5(data))
        slow.write(data[500:])
        slow.keep(content_md5(data))
    assert part.size == 1000
    assert shop.store.join(wanted) == wanted.files


# -- what only an object store has ----------------------------------------------------------------------------------------


def test_an_address_takes_one_part_and_binds_its_md5(objects: ObjectStore, keys: Path) -> None:
    """Shape only: moto checks neither signature nor MD5. A real store refuses another body, header or part number.

    PUT with curl, without any certificate or key of the centre: that is all a node needs.
    """
    store = S3Store.parse(f"s3://{objects.bucket()}")
    data = noise(PART + 10)
    wanted = upload({"clip.age": data})
    for part in store.parts(wanted):
        address = urlsplit(part.url)
        said = parse_qs(address.query)
        assert said["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert said["X-Amz-SignedHeaders"] == ["content-md5;host"]
        assert said["partNumber"] == [str(part.part)]
        assert int(said["X-Amz-Expires"][0]) <= 3600
        assert "not-a-secret" not in part.url
        body = data[part.offset : part.offset + part.size]
        words = [
            "curl",
            "-sS",
            "--fail",
            "--cacert",
            keys / "ca.pem",
            "-T",
            "-",
            "-H",
            f"Content-MD5: {content_md5(body)}",
            part.url,
        ]
        subprocess.run(words, input=body, check=True, capture_output=True, timeout=PATIENCE * 60)
    assert all(done(store, wanted))
    assert store.join(wanted) == wanted.files


def test_without_md5_no_address_is_given(objects: ObjectStore) -> None:
    store = S3Store.parse(f"s3://{objects.bucket()}")
    wanted = upload({"clip.age": b"sealed"})
    with pytest.raises(RequestRejectedError, match="1 parts need one MD5 each"):
        store.parts(replace(wanted, md5={}))


def test_two_uploads_begun_at_once_become_one(objects: ObjectStore) -> None:
    """Two processes that were asked in the same moment agree on one, and the other leaves nothing."""
    bucket = objects.bucket()
    store, data = S3Store.parse(f"s3://{bucket}"), b"sealed"
    wanted = upload({"clip.age": data})
    for _ in range(2):
        objects.client().create_multipart_upload(Bucket=bucket, Key=wanted.keys["clip.age"])
    [first], [second] = store.parts(wanted), S3Store.parse(f"s3://{bucket}").parts(wanted)
    assert parse_qs(urlsplit(first.url).query)["uploadId"] == parse_qs(urlsplit(second.url).query)["uploadId"]
    send(store, wanted, first, data)
    assert store.join(wanted) == wanted.files
    store.discard(wanted)
    assert "Uploads" not in objects.client().list_multipart_uploads(Bucket=bucket)


def test_a_bucket_without_versions_is_refused(objects: ObjectStore, keys: Path) -> None:
    done = central("ingest", "--keys", keys, "--store", f"s3://{objects.bucket(versioned=False)}", "--sweep-once")
    assert done.returncode == 2
    assert "must keep versions" in done.stderr
    assert "hint: aws s3api put-bucket-versioning" in done.stderr


def test_a_bucket_that_is_not_there_is_told(objects: ObjectStore) -> None:
    with pytest.raises(UnreachableError, match="NoSuchBucket"):
        S3Store.parse("s3://lykta-nowhere")
    with pytest.raises(UsageError, match="must be s3://BUCKET"):
        S3Store.parse("s3://Bad_Name/x")


def test_two_nodes_may_have_an_object_of_the_same_id(store: Store) -> None:
    """A node chooses its ids: one that takes a neighbour's must neither see, nor fill, nor remove what that one has sent."""
    mine, data = upload({"clip.age": b"sealed"}), b"sealed"
    other = replace(mine, node="city/stop-2", keys={"clip.age": f"city/stop-2/{mine.id}/clip.age"})
    send(store, mine, store.parts(mine)[0], data)
    assert done(store, other) == [False]
    send(store, other, store.parts(other)[0], data)
    store.discard(other)
    assert done(store, mine) == [True]
    assert store.join(mine) == mine.files


def test_the_beginning_of_a_file_is_read_and_no_more(store: Store) -> None:
    for data in (b"", b"short", noise(100_000)):
        wanted = upload({"clip.age": data})
        send(store, wanted, store.parts(wanted)[0], data)
        store.join(wanted)
        assert store.first_bytes(wanted.keys["clip.age"], 1000) == data[:1000]


# -- what only a folder has ------------------------------------------------------------------------------------------------


def test_one_object_is_joined_by_one_at_a_time(tmp_path: Path) -> None:
    """The lock holds between processes: it belongs to the open file, so two stores in one process show it."""
    first, second = FolderStore(tmp_path), FolderStore(tmp_path)
    order: list[str] = []

    def wait() -> None:
        with second.lock("object", "x"):
            order.append("second")

    with first.lock("object", "x"), first.lock("node", "x"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
