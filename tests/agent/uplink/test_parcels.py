"""Parcels of a real `lykta uplink`: closed journal segments once each, reports and diagnoses until the centre has them."""

from __future__ import annotations

import base64
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.upload.parcels import MOST_BYTES, Parcels
from agent.uplink.upload.parts import Item
from agent.uplink.upload.policy import Rank
from central.keys.keygen import authority, signer
from privacy.errors import LyktaError, RecordError, StorageError, UsageError
from privacy.ids import uuid7
from privacy.records.chains import verify_chain, verify_segment
from privacy.records.journal import MOST_SEGMENT, Head, Journal, segments
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import RECEIPT, Parcel, Receipt, read_parcel, read_receipt
from provisioning.identity import UNITS, Unit, load_authority, load_signer
from tests.support.asking import ask
from tests.support.broker import NODE, PATIENCE, SITE, Broker, Centre, this_day, until
from tests.support.clips import central
from tests.support.ingests import Ingest, OddIngest, until_quiet
from tests.support.stop import MOST_MB, Stop


def keep_journal(stop: Stop, unit: Unit, days: int) -> Path:
    """A chain of some days, three entries each, that ends today; its folder."""
    # The node under test begins a segment of its own at midnight.
    now = this_day()
    for back in range(days - 1, -1, -1):
        t = now - timedelta(back)
        journal = Journal(stop.layout.journal(unit), unit, load_signer(stop.layout, unit), lambda t=t: t)  # type: ignore[misc]
        for _ in range(3):
            journal.append("capture_on", reason="hours")
    return stop.layout.journal(unit)


def receipts(stop: Stop) -> list[str]:
    folder = stop.layout.uplink / "journal"
    return sorted(str(path.relative_to(folder)).removesuffix(".receipt.jws") for path in folder.rglob("*.receipt.jws"))


def carry(stop: Stop, kind: str, data: bytes, name: str = "report.json") -> dict[str, Any]:
    until(lambda: stop.detail("upload_error") is not None, "the uploader runs", 40)
    request = {"verb": "carry", "kind": kind, "name": name, "data": base64.b64encode(data).decode()}
    return ask(stop.layout.socket("uplink", "ctl"), request, timeout=PATIENCE * 10)


def sent(odd: OddIngest, kind: str) -> list[Parcel]:
    records = [odd.records[name][0] for name in dict.fromkeys(odd.announced)]
    return [record for record in records if isinstance(record, Parcel) and record.kind == kind]


# -- journal -----------------------------------------------------------------------------------------------------------


def test_closed_segments_of_every_unit_go_up_once_and_in_order(stop: Stop, broker: Broker, odd: OddIngest) -> None:
    """R32: what an auditor needs to find a cut leaves the node daily; the newest segment is still being written."""
    folders = {unit: keep_journal(stop, unit, 3) for unit in UNITS}
    stop.start()
    until(lambda: len(receipts(stop)) == 8, f"two of each are up: {stop.log.read_text()}", 40)
    ca = authority(broker.centre.folder)
    for unit, folder in folders.items():
        head = Head(0, "")
        mine = [parcel for parcel in sent(odd, "journal") if parcel.facts["unit"] == unit]
        assert len(mine) == 2
        for parcel, path in zip(mine, segments(folder), strict=False):
            assert parcel.unit == "uplink"
            assert parcel.files[0].name == path.name
            data = odd.parts[f"/{parcel.id}/{path.name}/0"]
            assert data == path.read_bytes()
            chain = verify_segment(data, unit, ca, head)
            facts = {"first": head.length, "last": chain.head.length - 1, "head": chain.head.sha256, "previous": head.sha256}
            assert parcel.facts == {"unit": unit, **facts}
            head = chain.head
            kept = read_receipt((stop.layout.uplink / f"journal/{unit}/{path.stem}.receipt.jws").read_bytes(), ca)
            assert (kept.id, kept.files) == (parcel.id, parcel.files)
    assert stop.end() == 0
    announced, polls = list(odd.announced), odd.polls
    stop.start()
    until(lambda: odd.polls > polls, "it looked again")
    until_quiet(lambda: len(odd.announced))
    assert odd.announced == announced
    assert stop.peak_mb() < MOST_MB


def test_a_segment_whose_record_was_lost_is_the_same_object_again(stop: Stop, odd: OddIngest) -> None:
    """The uplink's folder is wiped: same id, and the centre's receipt for it is taken; no second parcel is announced for it."""
    keep_journal(stop, "io", 2)
    stop.start()
    until(lambda: len(receipts(stop)) == 1, "it is up", 40)
    assert stop.end() == 0
    shutil.rmtree(stop.layout.uplink)
    stop.start()
    until(lambda: len(receipts(stop)) == 1, "the receipt is here again", 40)
    assert len(odd.announced) == len(odd.puts) == 1


def spoil(path: Path, how: str) -> None:
    """What bad flash does to a segment."""
    data = path.read_bytes()
    first, rest = data.split(b"\n", 1)
    middle = len(first) + len(rest) // 2
    path.write_bytes(
        {
            "a byte in the middle": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "the first line": b"\xff" * len(first) + b"\n" + rest,
            "its end": data[:-20],
            "all of it": bytes(len(data)),
            "no byte is left": b"",
            "more than a segment has": data + bytes(MOST_SEGMENT),
        }[how]
    )


@pytest.mark.parametrize(
    ("how", "by"),
    [
        ("a byte in the middle", "ingest"),
        ("the first line", "ingest"),
        ("its end", "ingest"),
        ("all of it", "uplink"),
        ("no byte is left", "uplink"),
        ("more than a segment has", "uplink"),
    ],
)
def test_a_damaged_segment_is_set_aside_and_named_and_the_next_ones_go_up(
    stop: Stop, broker: Broker, folder: Path, ingest_port: int, how: str, by: str
) -> None:
    """A1: one byte that flash changed blocked every later segment of that unit for ever."""
    journal = keep_journal(stop, "camera", 4)
    spoil(segments(journal)[1], how)
    spoilt = segments(journal)[1].read_bytes()
    ingest = Ingest(broker.centre, folder / "store", ingest_port)
    try:
        stop.start()
        until(lambda: receipts(stop) == ["camera/0000000000", "camera/0000000006"], "both sound ones are there", 60)
        until(lambda: stop.detail("journals_aside") == {"camera": 1}, "the status names it")
        assert segments(journal)[1].read_bytes() == spoilt, "it stays on the node"
        stop.end()
        stop.start()
        until(lambda: stop.detail("journals_aside") == {"camera": 1}, "the status names it after a restart")
        until(lambda: not stop.detail("upload_error"), "and it is no trouble that lasts")
        stop.end()
    finally:
        ingest.close()
    chain = verify_chain(stop.layout.journal("uplink"), "uplink", load_authority(stop.layout))
    [entry] = [entry for entry in chain.entries if entry.kind == "journal_aside"]
    assert (entry.facts["unit"], entry.facts["segment"], entry.facts["by"]) == ("camera", "0000000003.jws", by)
    assert entry.facts["reason"]
    refused = list((folder / "store" / stop.name / "journal/camera/refused").glob("*.jws"))
    assert bool(refused) == (by == "ingest"), "the centre has what could be packed"
    refused_by_verify = central("verify", folder / "store" / stop.name / "journal", "--keys", broker.centre.folder)
    assert refused_by_verify.returncode == 5
    assert "camera: entries 3 to 5 are missing" in refused_by_verify.stderr


@pytest.mark.parametrize("how", ["a byte in the middle", "its end", "no byte is left", "its parcel"])
def test_what_is_damaged_after_it_was_packed_keeps_nothing_waiting(
    stop: Stop, broker: Broker, folder: Path, ingest_port: int, how: str
) -> None:
    journal = keep_journal(stop, "camera", 3)
    stop.start()
    packed = stop.layout.uplink / "journal/camera/0000000000.parcel.jws"
    until(packed.exists, "it is packed, and the ingest is away", 40)
    stop.end()
    if how == "its parcel":
        packed.write_bytes(b"\0" * packed.stat().st_size)
    else:
        spoil(segments(journal)[0], how)
    ingest = Ingest(broker.centre, folder / "store", ingest_port)
    try:
        stop.start()
        sound = ["camera/0000000000", "camera/0000000003"] if how == "its parcel" else ["camera/0000000003"]
        until(lambda: receipts(stop) == sound, "what is sound is there", 60)
        until(lambda: stop.detail("journals_aside") == ({} if how == "its parcel" else {"camera": 1}), "what is not is counted")
        stop.end()
    finally:
        ingest.close()


def test_an_ingest_that_calls_a_sound_segment_damaged_is_not_believed(stop: Stop, odd: OddIngest) -> None:
    """What it says may be false: the node looks for itself, and offers a sound segment again."""
    keep_journal(stop, "camera", 3)
    odd.refuse_all_of, odd.refuse_with = {"journal"}, 422
    stop.start()
    until(lambda: len(odd.refusals) >= 2, "it is offered again", 60)
    assert not stop.detail("journals_aside")
    odd.refuse_all_of = set()
    until(lambda: receipts(stop) == ["camera/0000000000", "camera/0000000003"], "and goes up in its order", 60)


def test_journals_that_are_refused_keep_no_clip_waiting(stop: Stop, odd: OddIngest) -> None:
    """Also a hundred of them."""
    keep_journal(stop, "camera", 100)
    odd.refuse_all_of = {"journal"}
    clips = [stop.seal_clip(500, "presence") for _ in range(3)]
    stop.start()
    until(lambda: stop.detail("uploaded") == 3, "the clips are up", 40)
    assert odd.clips_put() == clips
    odd.refuse_all_of.clear()
    until(lambda: len(receipts(stop)) > 20, "and the journal follows", 60)
    names = [parcel.files[0].name for parcel in sent(odd, "journal")]
    assert names == sorted(names)


def test_a_foreign_receipt_is_not_kept(stop: Stop, odd: OddIngest) -> None:
    """Item 8: a replayed receipt ends nothing: the segment is offered again, a report stays."""
    keep_journal(stop, "camera", 2)
    stop.start()
    until(lambda: len(receipts(stop)) == 1, "the first is up", 40)
    odd.receipt_of = odd.announced[0]
    report = carry(stop, "report", b"{}")["id"]
    until(lambda: "something else than was sent" in (stop.detail("upload_error") or ""), "it is told", 40)
    assert (stop.layout.uplink / "outgoing" / report / "report.json").read_bytes() == b"{}"
    odd.receipt_of = ""
    until(lambda: not (stop.layout.uplink / "outgoing" / report).exists(), "the right receipt deletes it", 60)


# -- reports and diagnoses ---------------------------------------------------------------------------------------------


def test_a_report_is_carried_to_the_centre_and_deleted_on_its_receipt(stop: Stop, broker: Broker, odd: OddIngest) -> None:
    stop.start()
    said = carry(stop, "report", b'{"passed": true}')
    until(lambda: not (stop.layout.uplink / "outgoing" / said["id"]).exists(), "it is up and gone here", 40)
    (parcel,) = sent(odd, "report")
    assert (parcel.id, parcel.site, parcel.node, parcel.unit) == (said["id"], SITE, NODE, "uplink")
    assert odd.parts[f"/{parcel.id}/report.json/0"] == b'{"passed": true}'
    assert read_parcel(odd.records[parcel.id][1].encode(), authority(broker.centre.folder))[0] == parcel


def test_a_report_survives_a_kill_and_goes_before_events_and_after_help(stop: Stop, odd: OddIngest) -> None:
    """What was answered with an id is on the disk."""
    odd.busy = 10_000
    stop.start()
    report = carry(stop, "report", b"{}")["id"]
    assert stop.process
    stop.process.kill()
    stop.process.wait(PATIENCE * 10)
    half = stop.layout.uplink / "outgoing/01890000-0000-7000-8000-00000000ffff"
    half.mkdir()
    (half / "report.json").write_text("half made when the power went")
    clips = [stop.seal_clip(500, trigger) for trigger in ("presence", "help")]
    odd.busy = 0
    stop.start()
    until(lambda: stop.detail("uploaded") == 3, "all are up", 40)
    assert odd.clips_put() == [clips[1], report, clips[0]]
    assert not half.exists()


@pytest.mark.parametrize(
    ("kind", "name", "data", "words"),
    [
        ("clip", "report.json", b"{}", r"at `\$.kind`"),
        ("report", "../../etc/lykta/lykta.toml", b"{}", "name: "),
        ("report", "parcel.jws", b"{}", "name: .jws is for signed records"),
        ("diag", "diag.json", b"", "data: 1 to"),
        ("diag", "diag.json", bytes(MOST_BYTES + 1), "data: 1 to"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_field_and_rule(stop: Stop, kind: str, name: str, data: bytes, words: str) -> None:
    stop.start()
    with pytest.raises(LyktaError, match=words):
        carry(stop, kind, data, name)
    request = {"verb": "carry", "kind": "report", "name": "a.json", "data": "ä not base64"}
    with pytest.raises(LyktaError, match=r"at `\$.data`"):
        ask(stop.layout.socket("uplink", "ctl"), request)
    assert not list((stop.layout.uplink / "outgoing").glob("*"))


def parcels(stop: Stop) -> Parcels:
    return Parcels(stop.layout, _Node(), load_signer(stop.layout, "uplink"), lambda: datetime.now(UTC))  # type: ignore[arg-type]


class _Node:
    site, id, area = SITE, NODE, "city"


def test_too_many_drop_the_oldest_diagnosis_and_never_a_report(stop: Stop) -> None:
    """Promise 3: bounded, in a declared order, counted."""
    kept = parcels(stop)
    reports = [kept.keep("report", "report.json", b"{}") for _ in range(18)]
    diags = [kept.keep("diag", "diag.json", str(n).encode()) for n in range(5)]
    assert kept.dropped == 3
    assert {key[1] for key in kept.waiting} == {*reports, *diags[3:]}
    reports += [kept.keep("report", "report.json", b"{}") for _ in range(2)]
    assert kept.dropped == 5
    for kind in ("report", "diag"):
        with pytest.raises(UsageError, match="wait already"):
            kept.keep(kind, "more.json", b"{}")  # type: ignore[arg-type]
    assert {key[1] for key in kept.waiting} == set(reports)
    assert parcels(stop).waiting == kept.waiting, "and after a restart"


def receipt_for(centre: Centre, item: Item, role: str = "receipt", **changes: Any) -> str:
    record = Receipt(item.id, item.kind, SITE, NODE, sha256_hex(item.token.encode()), item.files, datetime.now(UTC))
    changed = Receipt(**{name: getattr(record, name) for name in record.__struct_fields__} | changes)
    return sign(changed, signer(centre.folder, role), RECEIPT).decode()


def test_only_the_centres_receipt_for_this_very_parcel_ends_it(stop: Stop, broker: Broker) -> None:
    kept = parcels(stop)
    kept.keep("report", "report.json", b"{}")
    (key,) = kept.waiting
    item = kept.fetch(key)
    other = kept.fetch((Rank.HANDED_IN, kept.keep("report", "report.json", b"other")))
    wrong = [
        receipt_for(broker.centre, item, node="stop-9"),
        receipt_for(broker.centre, item, site="town"),
        receipt_for(broker.centre, item, kind="diag"),
        receipt_for(broker.centre, item, files=other.files),
        receipt_for(broker.centre, item, role="ingest"),
        receipt_for(broker.centre, other),
        receipt_for(broker.centre, item)[:-8] + "AAAAAAAA",
        "rubbish",
    ]
    for receipt in wrong:
        with pytest.raises(RecordError):
            kept.received(key, item, receipt)
    assert key in kept.waiting
    kept.received(key, item, receipt_for(broker.centre, item))
    assert key not in kept.waiting
    assert kept.gone(key)


def test_an_ingest_gets_no_file_that_the_record_does_not_name(stop: Stop) -> None:
    kept = parcels(stop)
    kept.keep("report", "report.json", b"{}")
    item = kept.fetch(kept.waiting[0])
    assert item.file("report.json").read_bytes() == b"{}"
    for name in ("parcel.jws", "../spent.json"):
        with pytest.raises(StorageError, match="has no file"):
            item.file(name)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)), st.binary(min_size=10, max_size=32))
def test_ids_are_of_version_7_and_sort_by_time(t: datetime, random: bytes) -> None:
    """RFC 9562 section 5.7: 48 bits of milliseconds, version, variant."""
    made = uuid7(round(t.replace(tzinfo=UTC).timestamp() * 1000), random)
    assert int(made[:8] + made[9:13], 16) == round(t.replace(tzinfo=UTC).timestamp() * 1000)
    assert (made[14], made[19] in "89ab") == ("7", True)
    assert made == uuid7(round(t.replace(tzinfo=UTC).timestamp() * 1000), random)
    assert json.dumps(made) == f'"{made}"'
