"""The uploader of a real `lykta uplink`: to the centre's own ingest, and to an odd one that somebody else made."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from central.keys.keygen import authority
from privacy.records.jws import sha256_hex
from privacy.records.manifest import PART, read_receipt
from tests.support.broker import PATIENCE, Broker, Centre, free_port, this_day, until
from tests.support.ingests import Ingest, OddIngest, Store, in_inbox, settings, until_quiet
from tests.support.stop import MOST_MB, Stop

MEGABYTE = 1_000_000


@pytest.fixture
def ingest(folder: Path, broker: Broker, ingest_port: int) -> Iterator[Ingest]:
    ingest = Ingest(broker.centre, folder / "store", ingest_port)
    yield ingest
    ingest.close()


def sealed(stop: Stop, clip: str, name: str = "clip.age") -> bytes:
    return (stop.layout.spool / clip / name).read_bytes()


# -- the centre's own ingest -------------------------------------------------------------------------------------------


def test_clips_reach_the_ingest_and_their_receipts_the_camera(stop: Stop, broker: Broker, ingest: Ingest) -> None:
    """Promise 3, R27: the bytes arrive whole, and only the camera, on the centre's receipt, frees a clip."""
    camera = stop.neighbour("camera")
    clips = [stop.seal_clip(11 * MEGABYTE), stop.seal_clip(1000)]
    bytes_of = {clip: sealed(stop, clip) for clip in clips}
    with broker.ear() as heard:
        stop.start()
        until(lambda: camera.receipts == clips, f"both are freed: {stop.log.read_text()}", 60)
        until(lambda: all(stop.messages(heard(), f"clip/{clip}") for clip in clips), "both are announced")
    assert all(ingest.file(clip, "clip.age").read_bytes() == bytes_of[clip] for clip in clips)
    until(lambda: not list(stop.layout.spool.glob("*/manifest.jws")), "what was freed is gone from the disk")
    until(lambda: stop.detail("uploaded") == 2, "both are counted")
    assert stop.peak_mb() < MOST_MB


def test_a_camera_that_is_away_finds_the_receipts_in_the_inbox(stop: Stop, broker: Broker, ingest: Ingest) -> None:
    """R27, R28: then `lykta retention` can free the clips. They are not sent again, after a restart neither."""
    clips = [stop.seal_clip(1000), stop.seal_clip(1000)]
    stop.start()
    until(lambda: all(in_inbox(stop, clip).exists() for clip in clips), "both receipts are in the inbox", 40)
    for clip in clips:
        receipt = read_receipt(in_inbox(stop, clip).read_bytes(), authority(broker.centre.folder))
        assert (receipt.id, receipt.record_sha256) == (clip, sha256_hex(sealed(stop, clip, "manifest.jws")))
    assert stop.end() == 0
    stamps = [in_inbox(stop, clip).stat().st_mtime_ns for clip in clips]
    stop.start()
    until(lambda: stop.detail("upload_waiting") == 0, "nothing waits")
    assert stop.detail("uploaded") is None
    assert [in_inbox(stop, clip).stat().st_mtime_ns for clip in clips] == stamps


def test_an_ingest_that_flaps_gets_every_clip_once_and_whole(stop: Stop, broker: Broker, ingest: Ingest) -> None:
    """Promise 3: killed in the middle three times, nothing is lost, nothing torn, nothing freed too early (item 8)."""
    camera = stop.neighbour("camera")
    settings(stop.layout.config, kbit_s="40_000")
    clips = [stop.seal_clip(6 * MEGABYTE) for _ in range(5)]
    bytes_of = {clip: sealed(stop, clip) for clip in clips}
    stop.start()
    for share in (1, 3, 4):
        until(lambda share=share: ingest.received() > share * 5 * MEGABYTE, "some of it is there", 60)  # type: ignore[misc]
        ingest.kill()
        freed = set(clips) - {path.parent.name for path in stop.layout.spool.glob("*/manifest.jws")}
        assert all(ingest.file(clip, "receipt.jws").exists() for clip in freed), "freed without the centre having it"
        ingest.start()
    until(lambda: sorted(camera.receipts) == clips, f"each is freed once: {stop.log.read_text()}", 90)
    assert {path.name for path in (ingest.store / stop.name).iterdir()} == set(clips)
    for clip in clips:
        assert ingest.file(clip, "clip.age").read_bytes() == bytes_of[clip]
        receipt = read_receipt(ingest.file(clip, "receipt.jws").read_bytes(), authority(broker.centre.folder))
        assert [file.sha256 for file in receipt.files if file.name == "clip.age"] == [sha256_hex(bytes_of[clip])]


# -- parts -------------------------------------------------------------------------------------------------------------


def test_the_hash_of_every_part_is_announced(stop: Stop, odd: OddIngest) -> None:
    """The ingest can bind a presigned URL to the bytes that it is for."""
    clip = stop.seal_clip(2 * PART + 1)
    stop.start()
    until(lambda: in_inbox(stop, clip).exists(), "it is up", 40)
    data = sealed(stop, clip)
    wanted = [base64.b64encode(hashlib.md5(data[at : at + PART]).digest()).decode() for at in range(0, len(data), PART)]
    assert len(wanted) == 3
    masks = base64.b64encode(hashlib.md5(sealed(stop, clip, "masks.age")).digest()).decode()
    assert odd.md5[clip] == {"clip.age": wanted, "masks.age": [masks]}
    assert b"".join(odd.parts[f"/{clip}/clip.age/{at}"] for at in range(0, len(data), PART)) == data


def test_a_broken_upload_goes_on_from_the_missing_part(stop: Stop, odd: OddIngest) -> None:
    odd.part_size = 1000
    clip = stop.seal_clip(2000)
    odd.breaks.add(f"/{clip}/clip.age/1000")
    stop.start()
    until(lambda: in_inbox(stop, clip).exists(), "it is up", 40)
    assert [path.rsplit("/", 2)[1:] for path in odd.puts] == [
        *(["clip.age", "0"], ["clip.age", "1000"]),
        *(["clip.age", "1000"], ["clip.age", "2000"], ["masks.age", "0"]),
    ]


def test_a_killed_uplink_sends_at_most_one_part_twice(stop: Stop, odd: OddIngest) -> None:
    """The issue's figure: SIGKILL in the middle of the second of four parts; bytes are counted at the other end."""
    odd.stalls_after, odd.hangs_up = PART + PART // 2, True
    clip = stop.seal_clip(3 * PART + 1000)
    stop.start()
    assert odd.stalled.wait(PATIENCE * 30)
    assert stop.process
    stop.process.kill()
    stop.process.wait(PATIENCE * 10)
    odd.stalls_after = -1
    odd.go_on.set()
    stop.start()
    until(lambda: in_inbox(stop, clip).exists(), "it is up", 60)
    size = sum(len(sealed(stop, clip, name)) for name in ("clip.age", "masks.age"))
    assert size + PART // 2 <= sum(odd.counted.values()) <= size + PART
    assert odd.puts.count(f"/{clip}/clip.age/{PART}") == 2
    assert all(odd.puts.count(path) == 1 for path in odd.parts if path != f"/{clip}/clip.age/{PART}")
    assert b"".join(odd.parts[f"/{clip}/clip.age/{n * PART}"] for n in range(4)) == sealed(stop, clip)
    assert stop.peak_mb() < MOST_MB


def test_an_object_store_is_not_shown_who_we_are(stop: Stop, broker: Broker, odd: OddIngest) -> None:
    """Whole URLs are PUT without the client certificate, with exactly the hash, and the bytes are right."""
    store = Store(broker.centre, free_port())
    odd.url = f"https://localhost:{store.server_port}/bucket"
    clip = stop.seal_clip(1000)
    with store.running():
        stop.start()
        until(lambda: len(store.taken) == 2, "both files are in the store", 40)
    assert store.taken[f"/bucket/{clip}/clip.age/0"] == sealed(stop, clip)
    assert store.peers == [None, None]
    assert odd.puts == []
    assert {name.lower() for name in store.headers[0]} == {"host", "accept-encoding", "content-md5", "content-length"}


def test_a_store_of_the_systems_cas_is_trusted_another_is_not(stop: Stop, folder: Path, odd: OddIngest) -> None:
    stranger = Centre(folder / "stranger")
    store = Store(stranger, free_port())
    odd.url = f"https://localhost:{store.server_port}"
    stop.seal_clip(1000)
    with store.running():
        stop.start()
        until(lambda: "certificate verify failed" in (stop.detail("upload_error") or ""), "it is refused", 40)
        assert store.taken == {}
        assert stop.end() == 0
        stop.start(SSL_CERT_FILE=str(stranger.ca))
        until(lambda: len(store.taken) == 2, "both files are in the store", 40)


def test_nothing_leaves_in_clear(stop: Stop, odd: OddIngest) -> None:
    odd.url = f"http://localhost:{free_port()}"
    clip = stop.seal_clip(1000)
    stop.start()
    until(lambda: "url: must be https://" in (stop.detail("upload_error") or ""), "it is refused", 40)
    assert sealed(stop, clip)


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_one_clip_that_is_refused_keeps_no_other_waiting(stop: Stop, odd: OddIngest) -> None:
    """And an ingest that asks for what is no sealed file gets nothing: an order beside a clip is no part of it."""
    odd.refused, odd.nosy, good = stop.seal_clip(2000), stop.seal_clip(2000), stop.seal_clip(2000)
    (stop.layout.spool / odd.nosy / "hold.jws").write_bytes(bytes(5000))
    stop.start()
    until(lambda: in_inbox(stop, good).exists(), "the good one is there", 40)
    assert odd.clips_put() == [good]
    until(lambda: "object: belongs to another" in (stop.detail("upload_error") or ""), "it is told")
    late = stop.seal_clip(2000)
    until(lambda: in_inbox(stop, late).exists(), "one that comes later is there as well", 40)
    assert (stop.layout.spool / odd.refused / "manifest.jws").exists()


def test_a_clip_at_which_the_line_breaks_each_time_keeps_no_other_waiting(stop: Stop, odd: OddIngest) -> None:
    bad, good = stop.seal_clip(2000), stop.seal_clip(2000, "presence")
    odd.breaks = Everything(f"/{bad}/clip.age/0")  # type: ignore[assignment]
    stop.start()
    until(lambda: in_inbox(stop, good).exists(), "the other one is up", 60)
    assert not in_inbox(stop, bad).exists()


def test_an_ingest_that_refuses_all_is_not_asked_for_each_clip_at_once(stop: Stop, odd: OddIngest) -> None:
    """A fault of the ingest's must not make a thousand nodes offer it ten thousand clips each: five, then a pause."""
    odd.refuse_all_of = {"clip"}
    for _ in range(12):
        stop.seal_clip(500, "presence")
    stop.start()
    until(lambda: len(odd.times) >= 11, "all but one were offered", 60)
    assert odd.times[5] - odd.times[4] >= 1.0
    assert odd.times[10] - odd.times[9] >= 2.0


class Everything(set[str]):
    """A set whose members stay."""

    def __init__(self, *members: str) -> None:
        super().__init__(members)

    def discard(self, _member: str) -> None:
        """They stay."""


def test_a_busy_ingest_is_given_the_time_that_it_asks_for(stop: Stop, odd: OddIngest) -> None:
    odd.busy = 2
    clip = stop.seal_clip(1000)
    stop.start()
    until(lambda: in_inbox(stop, clip).exists(), "it is up", 40)
    assert odd.times[1] - odd.times[0] >= 1.0
    assert odd.times[2] - odd.times[1] >= 1.0
    assert odd.announced == [clip]


def test_a_stop_does_not_wait_for_a_slow_upload(stop: Stop, odd: OddIngest) -> None:
    odd.stalls_after = 1000
    stop.seal_clip(30 * MEGABYTE)
    stop.start()
    assert odd.stalled.wait(PATIENCE * 20)
    assert stop.end() == 0, stop.log.read_text()


@pytest.mark.parametrize("where", ["camera", "inbox"])
def test_a_replayed_receipt_frees_nothing(stop: Stop, odd: OddIngest, where: str) -> None:
    """Item 8: the ingest answers with another clip's good receipt; the clip stays, here and wherever the receipt lands."""
    camera = stop.neighbour("camera") if where == "camera" else None
    first = stop.seal_clip(1000)
    stop.start()
    until(lambda: camera.receipts == [first] if camera else in_inbox(stop, first).exists(), "the first is up", 40)
    odd.receipt_of = first
    second = stop.seal_clip(1000)
    if camera:
        until(lambda: "no such clip here" in (stop.detail("upload_error") or ""), "the camera refuses it", 40)
        assert camera.receipts == [first]
    else:
        until(lambda: in_inbox(stop, second).exists(), "it lies in the inbox", 40)
        receipt = read_receipt(in_inbox(stop, second).read_bytes(), authority(odd.centre.folder))
        assert receipt.id == first, "whoever frees by it looks at what it names"
    assert sealed(stop, second)
    assert sealed(stop, second, "manifest.jws")


# -- policy ------------------------------------------------------------------------------------------------------------


def test_help_first_then_events_and_routine_stays(stop: Stop, odd: OddIngest) -> None:
    """Design, section 3: `upload = "events"`; what is not uploaded stays sealed on the node."""
    clips = [stop.seal_clip(500, trigger) for trigger in ("routine", "presence", "tamper", "help", "routine")]
    stop.start()
    until(lambda: stop.detail("uploaded") == 3, "what is wanted is up", 40)
    assert odd.clips_put() == [clips[3], clips[1], clips[2]]
    until(lambda: stop.detail("upload_waiting") == 0, "nothing waits")
    assert all(sealed(stop, clips[n]) for n in (0, 4))


@pytest.mark.parametrize(("what", "sent"), [("help", [3]), ("all", [3, 1, 2, 0]), ("nothing", [])])
def test_the_operator_chooses_what_leaves(stop: Stop, odd: OddIngest, what: str, sent: list[int]) -> None:
    settings(stop.layout.config, what=f'"{what}"')
    clips = [stop.seal_clip(500, trigger) for trigger in ("routine", "presence", "tamper", "help")]
    ordered = stop.seal_clip(500, "routine")
    (stop.layout.spool / ordered / "export.jws").write_text("the order itself, which the camera verified")
    stop.start()
    wanted = [clips[n] for n in sent]
    wanted.insert(min(1, len(wanted)), ordered)
    until(lambda: stop.detail("uploaded") == len(wanted), "what is wanted is up", 40)
    assert odd.clips_put() == wanted


def test_help_goes_first_also_in_the_middle_of_a_long_upload(stop: Stop, odd: OddIngest) -> None:
    odd.stalls_after = 1000
    long = stop.seal_clip(2 * PART, "presence")
    stop.start()
    assert odd.stalled.wait(PATIENCE * 30)
    pressed = stop.seal_clip(500)
    odd.stalls_after = -1
    odd.go_on.set()
    until(lambda: stop.detail("uploaded") == 2, "both are up", 60)
    order = [path.split("/")[1] for path in odd.puts]
    assert order.index(pressed) == 1, "after the part that was under way"
    assert len(order) == 4 + 2, "and the long one went on where it stood"
    assert odd.parts[f"/{long}/clip.age/0"] == sealed(stop, long)[:PART]


def test_outside_its_hours_only_help_leaves(stop: Stop, odd: OddIngest) -> None:
    closed = datetime.now(UTC) + timedelta(days=3)
    settings(stop.layout.config, hours=f'[{{ days = [{closed.isoweekday()}], begin = "02:00", end = "04:00" }}]')
    stop.seal_clip(500, "presence")
    pressed = stop.seal_clip(500)
    stop.start()
    until(lambda: stop.detail("uploaded") == 1, "help is up", 40)
    until(lambda: stop.detail("upload_waiting") == 1, "the other waits")
    assert odd.clips_put() == [pressed]


def test_a_spent_budget_stays_spent_over_a_restart_and_help_goes_on(stop: Stop, odd: OddIngest) -> None:
    """Metered link: 1 MB a day, three events of 0.4 MB; a count that cannot be read counts as all spent."""
    settings(stop.layout.config, budget_mb_day="1")
    this_day()
    clips = [stop.seal_clip(400_000, "presence") for _ in range(3)]
    stop.start()
    until(lambda: stop.detail("uploaded") == 2, "two fit", 40)
    assert stop.end() == 0
    stop.start()
    pressed = stop.seal_clip(400_000)
    until(lambda: stop.detail("uploaded") == 1, "help does not ask", 40)
    assert stop.end() == 0
    spent = stop.layout.uplink / "spent.json"
    assert 950_000 <= json.loads(spent.read_text())["bytes"] <= MEGABYTE
    spent.write_text("{")
    stop.start()
    late = stop.seal_clip(400_000)
    until(lambda: stop.detail("uploaded") == 1, "help does not ask", 40)
    until(lambda: stop.detail("upload_waiting") == 1, "the third event waits")
    assert odd.clips_put() == [*clips[:2], pressed, late]


def test_the_bandwidth_limit_holds(stop: Stop, odd: OddIngest) -> None:
    """400 kbit/s: between announcing 150 kB and completing them lie at least 2.9 seconds, by the other end's clock."""
    settings(stop.layout.config, kbit_s="400")
    clip = stop.seal_clip(150_000)
    stop.start()
    until(lambda: in_inbox(stop, clip).exists(), "it is up", 40)
    announced, completed = odd.times
    assert completed - announced > 2.5


def test_a_clip_that_goes_away_meanwhile_is_no_trouble(stop: Stop, odd: OddIngest) -> None:
    odd.refused = stop.seal_clip(500)
    stop.start()
    until(lambda: "belongs to another" in (stop.detail("upload_error") or ""), "it is refused", 40)
    for path in (stop.layout.spool / odd.refused).iterdir():
        path.unlink()
    (stop.layout.spool / odd.refused).rmdir()
    until(lambda: stop.detail("upload_error") == "", "the trouble went with it", 30)


# -- many --------------------------------------------------------------------------------------------------------------


def test_a_wrong_clip_is_not_announced_again_and_again(stop: Stop, odd: OddIngest) -> None:
    """Duplicate uploads: what is up is announced once, however long the camera leaves it in the spool."""
    clips = [stop.seal_clip(500) for _ in range(3)]
    stop.start()
    until(lambda: all(in_inbox(stop, clip).exists() for clip in clips), "all are up", 40)
    until_quiet(lambda: len(odd.announced))
    assert odd.announced == clips
    assert all(odd.puts.count(path) == 1 for path in odd.parts)
