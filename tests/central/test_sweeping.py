"""Deletion at the centre (R27, R28, R29): what goes when, what a hold keeps, and that every version is gone."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from central.ingest.deletion import ClipSpan, deletion_of
from central.ingest.intake import AnnounceRequest
from central.keys.keygen import authority, issue, keygen
from central.store.choose import open_store
from central.store.folder_store import FolderStore
from central.store.port import DEADLINES, Store, announced_key
from privacy.errors import RequestRejectedError, StorageError
from privacy.ids import new_clip_id
from privacy.records.chains import verify_chain
from privacy.records.journal import ENTRY, Entry
from privacy.records.jws import verify_issued
from privacy.records.order import Order
from tests.support.broker import PATIENCE, until
from tests.support.clips import Node, central, made
from tests.support.manifests import BEGIN
from tests.support.object_store import ObjectStore
from tests.support.receiving import Centre, content_md5
from tests.support.sweeping import MASKS, NODE, Desk


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "keys"
    keygen(folder, ["127.0.0.1"])
    issue(folder, folder / "camera", NODE, "camera")
    return folder


@pytest.fixture
def desk(keys: Path, tmp_path: Path) -> Desk:
    return Desk(keys, FolderStore(tmp_path / "store"), tmp_path / "journal")


# -- the rule --------------------------------------------------------------------------------------------------------------

CLIPS = [new_clip_id(1_700_000_000_000_000_000 + number) for number in range(3)]
MOMENTS = st.integers(0, 60).map(minutes)
ABOUT = st.one_of(
    st.sets(st.sampled_from(CLIPS), min_size=1).map(lambda some: {"clips": tuple(some)}),
    st.tuples(MOMENTS, st.integers(1, 30)).map(lambda s: {"since": BEGIN + s[0], "to": BEGIN + s[0] + minutes(s[1])}),
)


@st.composite
def orders(draw: st.DrawFn) -> list[Order]:
    """Numbered in the order in which they were issued, as the centre does."""
    issued = sorted(draw(st.lists(MOMENTS, max_size=6)))
    made_: list[Order] = []
    for number, moment in enumerate(issued, 1):
        act, until = draw(st.sampled_from(["hold", "release", "erase"])), moment + minutes(draw(st.integers(1, 40)))
        times = (BEGIN + moment, BEGIN + until)
        made_.append(Order(number, act, "city", "stop-1", "controller", "K", "Ada", "Bo", *times, **draw(ABOUT)))
    return made_


def names_it(order: Order, clip: str, begin: datetime) -> bool:
    if order.clips:
        return clip in order.clips
    assert order.since
    assert order.to
    return not (begin + timedelta(seconds=3) < order.since or order.to < begin)


def doomed(clip: str, begin: datetime, deadline: datetime, known: list[Order], now: datetime) -> bool:
    """The rule in other words: nobody holds it, and its time has come or somebody had it erased."""
    mine = [order for order in known if order.issued <= now and names_it(order, clip, begin)]
    freed = max((order.number for order in mine if order.act == "release"), default=0)
    if any(order.act == "hold" and order.number > freed and now < order.until for order in mine):
        return False
    return now >= deadline or any(order.act == "erase" and now <= order.until for order in mine)


@settings(max_examples=500)
@given(known=orders(), begin=MOMENTS, kept=st.integers(1, 60).map(minutes), at=st.integers(0, 120).map(minutes))
def test_what_is_deleted_when(known: list[Order], begin: timedelta, kept: timedelta, at: timedelta) -> None:
    """R27, R29: for any orders about any clips, at any moment; and the order in which they are read does not matter."""
    now, first = BEGIN + at, BEGIN + begin
    issued = [order for order in known if order.issued <= now]
    for clip in CLIPS:
        filmed = ClipSpan(clip, first, first + timedelta(seconds=3))
        found = deletion_of(filmed, first + kept, issued, now)
        assert (found.due <= now) == doomed(clip, first, first + kept, known, now)
        assert deletion_of(filmed, first + kept, reversed(issued), now) == found


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    clips=st.lists(st.tuples(MOMENTS, st.integers(1, 60), st.booleans()), min_size=1, max_size=4),
    decided=st.lists(
        st.tuples(st.sampled_from(["hold", "release", "erase"]), MOMENTS, st.integers(1, 40), st.integers(0, 3), st.booleans()),
        max_size=4,
    ),
    step=st.integers(3, 17),
)
def test_a_store_holds_what_it_should_at_any_time(keys: Path, clips: list[Any], decided: list[Any], step: int) -> None:
    """R27, R28, R29: real files under a clock that runs, orders that come in between; nothing early, nothing a minute late."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(keys, FolderStore(Path(folder) / "store"), Path(folder) / "journal")
        made_ = {desk.clip(b + minutes(k), begin=b, whole=w): (BEGIN + b, BEGIN + b + minutes(k)) for b, k, w in clips}
        names, known, gone = list(made_), list[Order](), set[str]()
        coming = sorted(decided, key=lambda one: one[1])
        for at in range(0, 130, step):
            while coming and coming[0][1] <= minutes(at):
                act, issued, lasts, which, by_span = coming.pop(0)
                name = names[which % len(names)]
                about = {"since": made_[name][0], "to": made_[name][0] + minutes(5)} if by_span else {"clips": (name,)}
                known.append(desk.order(act, len(known) + 1, issued, issued + minutes(lasts), **about))
            desk.sweep(minutes(at))
            gone |= {name for name, (begin, due) in made_.items() if doomed(name, begin, due, known, desk.now)}
            for name in names:
                left = [key for key in desk.here(name) if not key.startswith(DEADLINES)]
                assert bool(left) == (name not in gone), (name, at)
        desk.sweep(timedelta(days=400))
        assert not any(desk.here(name) for name in names), "nor is a mark left for ever"
        noted = [facts["object"] for facts in desk.entries("deleted")]
        assert sorted(map(str, noted)) == sorted(names)


# -- how it goes ------------------------------------------------------------------------------------------------------------


def test_it_goes_in_the_minute_of_its_deadline(desk: Desk) -> None:
    """R28: not a second before it, and in the same minute."""
    name = desk.clip(timedelta(hours=72, seconds=30))
    assert desk.sweep(timedelta(hours=72, seconds=29)) == []
    assert len(desk.here(name)) > 4
    assert desk.sweep(timedelta(hours=72, seconds=30)) == [name]
    assert desk.here(name) == []
    assert desk.sweep() == []


def test_what_never_became_whole_goes_too(desk: Desk) -> None:
    """R27: announced, half sent, never finished."""
    name = desk.clip(timedelta(hours=1), whole=False)
    assert any("_incoming" in key for key in desk.here(name))
    assert desk.sweep(timedelta(hours=1)) == [name]
    assert desk.here(name) == []
    [entry] = desk.entries("deleted")
    assert (entry["object"], entry["state"]) == (name, "incomplete")


def test_a_deletion_is_signed_and_a_late_copy_does_not_come_back(desk: Desk) -> None:
    """R27, replayed manifests: the note of it is an entry of our journal, and who offers the clip again is told to delete it."""
    name = desk.clip(timedelta(hours=1))
    token = json.loads(desk.store.get(f"_index/announced/{NODE}/{name}.json") or b"")["manifest"]
    desk.sweep(timedelta(hours=1))
    line = desk.store.get(f"{NODE}/deleted/{name}.jws")
    assert line
    entry, party = verify_issued(line, ENTRY, authority(desk.keys), "receipt", Entry)
    assert (entry.kind, entry.facts["object"], entry.facts["versions"], party.role) == ("deleted", name, 4, "receipt")
    desk.now = BEGIN
    with pytest.raises(RequestRejectedError, match="was deleted") as refused:
        desk.intake.announce(AnnounceRequest("clip", name, token), NODE)
    assert refused.value.status == 410


def test_a_clip_that_comes_after_its_deadline_or_an_erasure_is_not_taken(desk: Desk) -> None:
    desk.now = BEGIN + timedelta(hours=2)
    with pytest.raises(RequestRejectedError, match="is to be deleted"):
        desk.clip(timedelta(hours=1))
    desk.order("erase", 4, minutes(60), minutes(600), since=BEGIN, to=BEGIN + minutes(1))
    with pytest.raises(RequestRejectedError, match="by order 4"):
        desk.clip(timedelta(hours=72))
    desk.order("hold", 5, minutes(60), minutes(600), since=BEGIN, to=BEGIN + minutes(1))
    assert desk.here(desk.clip(timedelta(hours=1))), "what is held is taken even after its deadline (R29)"


def test_a_hold_keeps_until_it_ends_and_a_release_frees_at_once(desk: Desk) -> None:
    """R29, and both in the journal."""
    first, second, third = (desk.clip(timedelta(hours=1)) for _ in range(3))
    desk.order("hold", 1, minutes(1), minutes(300), clips=(first, second))
    assert desk.sweep(timedelta(hours=1)) == [third]
    assert [(facts["object"], facts["number"]) for facts in desk.entries("held")] == [(first, 1), (second, 1)]
    desk.order("release", 2, minutes(100), minutes(400), clips=(second,))
    assert desk.sweep(minutes(100)) == [second]
    assert desk.sweep(minutes(299)) == []
    assert desk.sweep(minutes(300)) == [first]
    assert [facts["act"] for facts in desk.entries("order")] == ["release"]


def test_an_order_that_nobody_here_signed_decides_nothing(desk: Desk) -> None:
    """A hand in the store can neither erase nor hold: the basis key signs other things, and rubbish is no order."""
    name = desk.clip(timedelta(hours=1))
    desk.order("erase", 1, minutes(1), minutes(300), by="basis", clips=(name,))
    desk.store.put(f"{NODE}/orders/00000002.jws", b"rubbish")
    assert desk.sweep(minutes(2)) == []
    desk.order("hold", 3, minutes(1), minutes(300), by="basis", clips=(name,))
    assert desk.sweep(timedelta(hours=1)) == [name]


def test_a_diagnosis_stays_thirty_days_and_a_report_stays(desk: Desk) -> None:
    """By the centre's clock: a node that lives in 1970, or in 2100, changes nothing."""
    diags = [desk.parcel("diag", whole, t) for whole in (True, False) for t in (BEGIN, BEGIN + timedelta(days=700))]
    report, half = desk.parcel("report"), desk.parcel("report", whole=False)
    assert desk.sweep(timedelta(days=30, seconds=-1)) == []
    assert sorted(desk.sweep(timedelta(days=30))) == sorted(diags)
    assert not any(desk.here(name) for name in diags)
    desk.sweep(timedelta(days=4000))
    assert desk.here(report)
    assert desk.here(half)


class Cut:
    """A store whose power goes at the n-th thing that it is told to change: a real one, until then."""

    def __init__(self, store: Store, after: int) -> None:
        self._store, self._left = store, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._cut(found) if name in ("put", "erase", "discard") else found

    def _cut(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def cut(*words: Any) -> Any:
            if not self._left:
                raise StorageError("store: the power is gone")
            self._left -= 1
            return act(*words)

        return cut


def test_a_deletion_that_breaks_off_anywhere_is_finished(keys: Path, tmp_path: Path) -> None:
    """Promise 3, R27: after any step; then nothing is left, and what was done stands in the journal."""
    for after in itertools.count():
        desk = Desk(keys, FolderStore(tmp_path / f"store-{after}"), tmp_path / f"journal-{after}")
        name = desk.clip(timedelta(hours=1))
        desk.now = BEGIN + timedelta(hours=1)
        if not desk.another(Cut(desk.store, after)).sweep().failed:
            break
        assert desk.here(name), "the mark is still there"
        desk.sweep()
        assert desk.here(name) == []
        assert desk.store.get(f"{NODE}/deleted/{name}.jws")
        assert {facts["object"] for facts in desk.entries("deleted")} == {name}
        assert len(desk.entries("deleted")) <= 2
    assert after >= 5


def test_two_processes_sweep_at_once(desk: Desk) -> None:
    """Each clip is deleted once and noted once."""
    names = [desk.clip(timedelta(hours=1)) for _ in range(30)]
    desk.now = BEGIN + timedelta(hours=1)
    folder = desk.store.folder if isinstance(desk.store, FolderStore) else Path()
    sweepers = [desk.another(FolderStore(folder)) for _ in range(3)]
    threads = [threading.Thread(target=sweeper.sweep) for sweeper in sweepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(desk.here(name) for name in names)
    assert sorted(str(facts["object"]) for facts in desk.entries("deleted")) == sorted(names)


class Meanwhile:
    """A store without locks, as an object store is one, where something happens just before a receipt is put."""

    def __init__(self, store: Store, act: Callable[[], object]) -> None:
        self._store, self._act = store, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def lock(self, what: str, name: str) -> Any:
        return nullcontext()

    def put(self, key: str, data: bytes) -> None:
        if key.endswith("/receipt.jws"):
            self._act()
        self._store.put(key, data)


def test_what_was_deleted_while_it_was_being_completed_stays_deleted(desk: Desk) -> None:
    """R28: another process erases the clip between reading it back and its receipt; nothing of it rises again."""
    name = desk.clip(timedelta(hours=1), whole=False)
    [part] = [part for part in desk.intake.state_of(name, NODE).parts if not part.done]
    piece = desk.intake.part_writer(name, part.file, part.part, NODE)
    assert piece
    with piece:
        piece.write(MASKS)
        piece.keep(content_md5(MASKS))
    busy = desk.intake_over(Meanwhile(desk.store, lambda: desk.sweep(timedelta(hours=1))))
    with pytest.raises(RequestRejectedError, match="was deleted") as refused:
        busy.complete(name, NODE)
    assert refused.value.status == 410
    assert desk.here(name) == []


def test_what_nobody_here_put_stops_no_deletion(desk: Desk) -> None:
    """A foreign file among the marks, a torn announcement: noted, and the others go all the same (R27, R32)."""
    torn, name = desk.clip(timedelta(hours=1)), desk.clip(timedelta(hours=1))
    desk.store.put(f"{DEADLINES}/readme.txt", b"?")
    desk.store.put(f"{DEADLINES}/20200101T0000/odd", b"?")
    desk.store.put(f"_index/announced/{NODE}/{torn}.json", b"{")
    assert desk.sweep(timedelta(hours=1), failed=(torn,)) == [name]
    assert [facts["object"] for facts in desk.entries("fault")] == [torn]
    assert desk.sweep(failed=(torn,)) == []
    assert len(desk.entries("fault")) == 1


class Counting:
    """Counts the keys that are drawn from a store."""

    def __init__(self, store: Store) -> None:
        self._store, self.drawn, self.read = store, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def names(self, folder: str) -> Iterator[str]:
        for key in self._store.names(folder):
            self.drawn += 1
            yield key

    def get(self, key: str) -> bytes | None:
        self.read += 1
        return self._store.get(key)


def test_a_sweep_looks_at_what_is_due_and_at_nothing_else(desk: Desk) -> None:
    """100,000 clips in the store cost a sweep nothing: what is not due is not even listed."""
    due = desk.clip(timedelta(hours=1))
    for number in range(2000):
        later = BEGIN + timedelta(hours=2, minutes=number % 500)
        desk.store.put(f"{DEADLINES}/{later:%Y%m%dT%H%M}/city~stop-{number}~x", b"")
    desk.now, counted = BEGIN + timedelta(hours=1), Counting(desk.store)
    assert desk.another(counted).sweep().deleted == [due]
    assert counted.drawn <= 4
    assert counted.read <= 8


def test_trouble_is_noted_and_the_next_round_goes_on(desk: Desk) -> None:
    """R32: a fault is an entry, once an hour; the thread ends when it is told to."""
    name = desk.clip(timedelta(hours=1))
    desk.now, stop = BEGIN + timedelta(hours=1), threading.Event()
    broken = desk.another(Cut(desk.store, 0))
    thread = threading.Thread(target=broken.run, args=(stop, 0.01))
    thread.start()
    until(lambda: desk.entries("fault"), "the fault is noted")
    stop.set()
    thread.join(PATIENCE * 10)
    assert not thread.is_alive()
    assert [facts["what"] for facts in desk.entries("fault")] == ["sweep"]
    stop.clear()
    thread = threading.Thread(target=desk.sweeper.run, args=(stop, 0.01))
    thread.start()
    until(lambda: not desk.here(name), "it is deleted")
    stop.set()
    thread.join(PATIENCE * 10)


# -- in the object store, and in the process ----------------------------------------------------------------------------------


def test_every_version_goes_from_an_object_store(keys: Path, tmp_path: Path) -> None:
    """R28: versions, marks of deletion and open uploads; what belongs to others stays."""
    server = ObjectStore(keys, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        bucket = server.bucket()
        desk = Desk(keys, open_store(f"s3://{bucket}"), tmp_path / "journal")
        gone, half, stays = desk.clip(minutes(60)), desk.clip(minutes(60), whole=False), desk.clip(minutes(120))
        desk.store.put(f"{NODE}/{gone}/receipt.jws", desk.store.get(f"{NODE}/{gone}/receipt.jws") or b"")
        server.client().delete_object(Bucket=bucket, Key=f"{NODE}/{gone}/masks.age")
        assert len(server.versions(bucket, f"{NODE}/{gone}")) == 6
        assert sorted(desk.sweep(minutes(60))) == sorted([gone, half])
        for name in (gone, half):
            assert server.versions(bucket, f"{NODE}/{name}") == []
            assert [key for key in server.versions(bucket) if name in key] == [f"{NODE}/deleted/{name}.jws"]
        assert "Uploads" not in server.client().list_multipart_uploads(Bucket=bucket)
        assert len(server.versions(bucket, f"{NODE}/{stays}")) == 4
        assert {facts["object"]: facts["versions"] for facts in desk.entries("deleted")} == {gone: 5, half: 0}
    server.close()


def soon_by(centre: Centre, node: Node) -> datetime:
    """When two clips will have been sent from now, with room to spare: after its deadline a clip is refused (410).

    Told by how long one takes on this machine now; that one stays.
    """
    begun = time.monotonic()
    assert centre.upload(node, node.clip()).status == 200
    return datetime.now(UTC) + timedelta(seconds=3 + 8 * (time.monotonic() - begun))


def two_due_soon(folder: Path) -> tuple[Centre, Node, datetime, list[Path]]:
    """A centre that was killed after it took two clips of a node, and when these are due."""
    made("keygen", folder / "keys")
    centre, node = Centre(folder / "keys", folder / "store"), Node(folder / "keys", NODE, folder / "node")
    centre.start()
    soon = soon_by(centre, node)
    clips = [node.clip(deadline=soon) for _ in range(2)]
    for clip in clips:
        assert centre.upload(node, clip).status == 200
    centre.end(signal.SIGKILL)
    return centre, node, soon, clips


def test_the_serving_process_deletes_and_so_does_the_next_one(tmp_path: Path) -> None:
    """R27: what fell due while nobody served goes at the start; `--sweep-once` does the same and says so."""
    centre, node, soon, (first, second) = two_due_soon(tmp_path)
    until(lambda: datetime.now(UTC) > soon, "the deadline is over")
    done = json.loads(made("ingest", "--keys", centre.keys, "--store", centre.store, "--sweep-once", "--json"))
    assert done == {"schema": "lykta-central.sweep/1", "deleted": [first.name, second.name], "held": [], "failed": []}
    assert not centre.home(node, first).exists()
    centre.start()
    soon = soon_by(centre, node)
    third = node.clip(deadline=soon)
    assert centre.upload(node, third).status == 200
    centre.end(signal.SIGKILL)
    until(lambda: datetime.now(UTC) > soon, "the deadline is over")
    centre.start()
    until(lambda: not centre.home(node, third).exists(), "it is deleted at the start")
    assert centre.end() in (0, -signal.SIGTERM)
    chain = verify_chain(centre.keys / "journal", "receipt", authority(centre.keys))
    assert [entry.facts["object"] for entry in chain.entries] == [first.name, second.name, third.name]


def test_a_fault_that_the_journal_has_no_room_for_is_shown_as_text(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A store's own words, as of an S3 server, reach the terminal."""

    class Saying(Counting):
        def get(self, key: str) -> bytes | None:
            raise OSError(f"{key}: \x1b[2J\nfault: forged")

    desk.clip(timedelta(hours=1))
    desk.now = BEGIN + timedelta(hours=1)
    shutil.rmtree(desk.folder)
    desk.folder.write_text("a file where a folder should be")
    swept = desk.another(Saying(desk.store)).sweep()
    assert "forged" in "".join(swept.failed.values())
    err = capsys.readouterr().err
    assert "not in the journal" in err
    assert "\x1b" not in err
    assert not [line for line in err.splitlines() if line.startswith("fault: forged")]


def test_what_could_not_be_deleted_is_named_and_the_command_says_so_by_its_code(tmp_path: Path) -> None:
    """R27: it ended with 0. The other one that is due goes all the same."""
    centre, node, soon, (first, second) = two_due_soon(tmp_path)
    (centre.store / announced_key(node.name, first.name)).write_text("{")
    until(lambda: datetime.now(UTC) > soon, "the deadline is over")
    done = central("ingest", "--keys", centre.keys, "--store", centre.store, "--sweep-once", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["deleted"], [one["id"] for one in said["failed"]]) == (1, [second.name], [first.name])
    assert f"failed: {first.name}: " in done.stderr
