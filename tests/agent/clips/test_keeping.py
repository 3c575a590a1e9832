"""How long clips stay: limits, quota, holds, receipts, damage. Whatever leaves is journalled and told (R27, R28, R29, R32)."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from agent.outbox.backlog import Backlog
from privacy.errors import RecordError, StorageError
from privacy.ids import new_clip_id
from privacy.records.journal import segments
from privacy.records.seal import Recipient
from provisioning.identity import recipients
from tests.support.manifests import manifest
from tests.support.nodes import BIN, until
from tests.support.shelf import Shelf


def test_a_clip_is_deleted_at_its_deadline_and_not_before(shelf: Shelf) -> None:
    """R27"""
    clip = shelf.clip()
    keeper = shelf.custody().keeper
    shelf.clock.runs(timedelta(hours=71, minutes=59))
    keeper.sweep()
    assert shelf.there() == [clip]
    shelf.clock.runs(timedelta(minutes=2))
    keeper.sweep()
    assert shelf.there() == []
    assert not (shelf.layout.spool / clip).exists()
    assert shelf.notes() == [(clip, "expired", "retention: deadline")]
    assert shelf.kinds() == ["clip_expired"]


def test_a_clock_set_back_keeps_no_clip(shelf: Shelf) -> None:
    """R28: the node was on for 72 hours; what its clock says of that does not matter."""
    shelf.clip()
    keeper = shelf.custody().keeper
    keeper.sweep()
    shelf.clock.runs(timedelta(hours=72))
    shelf.clock.wall -= timedelta(days=300)
    shelf.clock.known = False
    keeper.sweep()
    assert shelf.there() == []
    assert shelf.notes()[0][2] in ("retention: powered", "retention: deadline")


def test_a_node_that_was_off_deletes_when_the_time_is_known_again(shelf: Shelf) -> None:
    """R28: sealed clips stay while nobody vouches for the time, six hours of powered time at most; then the deadline decides."""
    clip = shelf.clip()
    keeper = shelf.custody().keeper
    keeper.save()
    shelf.clock.boots("b2")
    shelf.clock.wall += timedelta(days=9)
    shelf.clock.known = False
    keeper = shelf.custody().keeper
    keeper.sweep()
    shelf.clock.runs(timedelta(hours=5, minutes=50))
    keeper.sweep()
    assert shelf.there() == [clip]
    shelf.clock.runs(timedelta(minutes=10))
    keeper.sweep()
    assert shelf.notes() == [(clip, "expired", "retention: deadline")]


def test_sixty_four_boots_are_the_most(shelf: Shelf) -> None:
    """R28: a clock that is never right and a plug that is pulled every minute keep no clip for ever."""
    clip = shelf.clip()
    shelf.custody().keeper.save()
    shelf.clock.known = False
    for boot in range(64):
        shelf.clock.boots(f"again-{boot}")
        shelf.custody().keeper.sweep()
    assert shelf.there() == [clip]
    shelf.clock.boots("once more")
    shelf.custody().keeper.sweep()
    assert shelf.notes() == [(clip, "expired", "retention: boots")]


def test_a_torn_odometer_is_told_and_prolongs_nothing(shelf: Shelf) -> None:
    clip = shelf.clip()
    keeper = shelf.custody().keeper
    keeper.save()
    (shelf.layout.camera / "odometer.json").write_bytes(b"{torn")
    shelf.custody().keeper.sweep()
    assert shelf.there() == [clip]
    assert "odometer_torn" in shelf.kinds()
    shelf.clock.runs(timedelta(hours=72))
    shelf.custody().keeper.sweep()
    assert shelf.there() == []


def test_retention_deletes_while_the_camera_is_off(shelf: Shelf) -> None:
    """R27: `lykta retention` is another process with another key, and leaves an entry in a chain of its own."""
    old = shelf.clip(deadline=shelf.clock.wall - timedelta(hours=1), begin=shelf.clock.wall - timedelta(hours=73))
    kept = shelf.clip()
    with shelf.layout.config.open("a") as file:
        file.write('[clock]\ntrust = "host"\n')
    done = subprocess.run([BIN / "lykta", "--root", shelf.layout.root, "retention"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert shelf.there() == [kept]
    assert shelf.notes() == [(old, "expired", "retention: deadline")]
    assert shelf.kinds("retention") == ["clip_expired", "heads"]
    assert shelf.entries("retention")[1].facts.keys() == {"camera"}


def test_retention_deletes_what_was_never_finished(shelf: Shelf) -> None:
    """R27: a camera that stays down leaves a torn clip; its checkpoint says when it must go."""
    folder = shelf.node.torn(deadline=shelf.clock.wall + timedelta(hours=72))
    keeper = shelf.custody("retention").keeper
    shelf.clock.runs(timedelta(hours=71))
    keeper.sweep()
    assert folder.exists()
    shelf.clock.runs(timedelta(hours=2))
    keeper.sweep()
    assert not folder.exists()


# -- room --------------------------------------------------------------------------------------------------------------


def test_a_full_quota_drops_routine_then_events_and_never_protected_help(shelf: Shelf) -> None:
    """The declared order: routine, events, help presses that followed a protected one within ten minutes; each told."""
    names = {}
    for name, trigger, minutes in (("first", "help", 0), ("second", "help", 1), ("event", "tamper", 1), ("routine", "routine", 1)):
        shelf.clock.runs(timedelta(minutes=minutes))
        names[name] = shelf.clip(bytes(600_000), trigger=trigger)
    for quota, gone in ((2, "routine"), (1, "event"), (1, "second")):
        shelf.custody(quota_mb=quota).keeper.sweep()
        if gone == "second":
            continue
        assert names[gone] not in shelf.there()
    assert shelf.there() == [names["first"]]
    assert shelf.notes() == [(names[name], "dropped", "quota") for name in ("routine", "event", "second")]
    keeper = shelf.custody(quota_mb=0).keeper
    keeper.sweep()
    assert (shelf.there(), keeper.dropped) == ([names["first"]], 0)


# -- receipts and holds ------------------------------------------------------------------------------------------------


def test_only_the_centres_own_receipt_for_these_bytes_frees(shelf: Shelf) -> None:
    """R27, R30: a forged, a foreign and a replayed receipt free nothing."""
    clip, other = shelf.clip(), shelf.clip()
    keeper = shelf.custody().keeper
    token = shelf.receipt(clip)
    for wrong in (shelf.receipt(clip, record_sha256="0" * 64), shelf.receipt(other, id=clip), token[:-8] + "AAAAAAAA"):
        with pytest.raises(RecordError):
            keeper.receipt(wrong)
    assert shelf.there() == [clip, other]
    assert keeper.receipt(token)
    with pytest.raises(RecordError, match="no such clip"):
        keeper.receipt(token)
    assert shelf.there() == [other]
    assert shelf.kinds() == ["clip_uploaded"]


def test_a_held_clip_outlives_deadline_quota_and_receipt_and_goes_when_released(shelf: Shelf) -> None:
    """R29: a hold comes by a signed order with an end; what it kept is freed by the receipt that came meanwhile."""
    clip = shelf.clip(bytes(600_000))
    custody = shelf.custody(quota_mb=0)
    custody.orders.obey(shelf.order("hold", clip))
    custody.keeper.sweep()
    assert not custody.keeper.receipt(shelf.receipt(clip))
    shelf.clock.runs(timedelta(hours=100))
    again = shelf.custody(quota_mb=0)
    again.keeper.sweep()
    assert shelf.there() == [clip]
    again.orders.obey(shelf.order("release", clip))
    assert shelf.there() == []
    assert [note[1:] for note in shelf.notes()] == [("uploaded", "held"), ("uploaded", "receipt")]


def test_a_hold_ends_at_its_end(shelf: Shelf) -> None:
    """R29: also where the clock was set back."""
    clip = shelf.clip()
    custody = shelf.custody()
    custody.orders.obey(shelf.order("hold", clip, until=shelf.clock.wall + timedelta(days=5)))
    custody.keeper.sweep()
    shelf.clock.runs(timedelta(days=4, hours=23))
    custody.keeper.sweep()
    assert shelf.there() == [clip]
    shelf.clock.runs(timedelta(hours=2))
    shelf.clock.wall -= timedelta(days=200)
    custody.keeper.sweep()
    assert shelf.there() == []


def test_a_hold_that_somebody_wrote_is_none(shelf: Shelf) -> None:
    """R29: a file in the clip's folder that no trusted key signed keeps nothing, and is noted."""
    clip = shelf.clip()
    shelf.node.spool.mark(clip, "hold", shelf.order("hold", clip, key="receipt"))
    shelf.clock.runs(timedelta(hours=73))
    shelf.custody().keeper.sweep()
    assert shelf.there() == []
    assert "hold_damaged" in shelf.kinds()


# -- damage ------------------------------------------------------------------------------------------------------------


def test_a_damaged_manifest_neither_stops_the_sweep_nor_keeps_its_clip(shelf: Shelf) -> None:
    good, bad = shelf.clip(), shelf.clip()
    (shelf.layout.spool / bad / "manifest.jws").write_bytes(b"torn")
    (shelf.layout.spool / "index").unlink()
    keeper = shelf.custody().keeper
    keeper.sweep()
    keeper.sweep()
    assert sorted(shelf.there()) == sorted([good, bad])
    shelf.clock.runs(timedelta(hours=80))
    keeper.sweep()
    assert shelf.there() == []
    assert shelf.kinds()[0] == "clip_damaged"
    assert shelf.kinds().count("clip_damaged") == 1
    assert {stage for _, stage, _ in shelf.notes()} == {"expired"}


def test_a_damaged_index_costs_a_look_and_nothing_else(shelf: Shelf) -> None:
    """The index is a cache: a line with one digit changed does not prolong anything."""
    clip = shelf.clip()
    index = shelf.layout.spool / "index"
    year = str(shelf.clock.wall.year).encode()
    index.write_bytes(index.read_bytes().replace(year, b"2999"))
    shelf.clock.runs(timedelta(hours=73))
    shelf.custody().keeper.sweep()
    assert shelf.notes() == [(clip, "expired", "retention: deadline")]


def test_junk_in_the_spool_is_named_and_keeps_nothing(shelf: Shelf) -> None:
    """14.E20: everything else is listed and deleted as ever."""
    good, torn = shelf.clip(), shelf.clip()
    spool = shelf.layout.spool
    (spool / torn / "manifest.jws").write_bytes(b"torn")
    (spool / "index").unlink()
    (spool / "photos").mkdir()
    shutil.copy(spool / good / "manifest.jws", spool / "photos/manifest.jws")
    (spool / "note.txt").write_text("x")
    Path(os.fsdecode(bytes(spool) + b"/\xff")).mkdir()
    (spool / ("0" * 36)).symlink_to(spool / good)
    custody = shelf.custody()
    custody.keeper.recover()
    strange = [entry.facts["name"] for entry in shelf.entries() if entry.kind == "spool_strange"]
    assert set(strange) == {"0" * 36, "note.txt", "photos", "\\udcff"}
    words = [BIN / "lykta", "--root", shelf.layout.root, "clips", "list", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    assert ([one["clip"] for one in said["clips"]], list(said["damaged"]), done.returncode) == ([good], [torn], 0)
    assert all(name in done.stderr for name in (torn, "note.txt", "photos", "udcff"))
    shelf.clock.runs(timedelta(hours=80))
    custody.keeper.sweep()
    assert shelf.there() == []
    assert (spool / "photos").is_dir(), "what is no clip is somebody's to look at"


def test_what_cannot_be_removed_keeps_no_other_clip(shelf: Shelf) -> None:
    """R27: one folder on a bad spot of the card must not stop the camera's start, nor what others are due."""
    clip = shelf.clip()
    (shelf.layout.spool / ".freed-stuck").write_text("no folder")
    (shelf.layout.spool / "index").unlink()
    (shelf.layout.spool / "index").mkdir()
    custody = shelf.custody()
    custody.keeper.recover()
    shelf.clock.runs(timedelta(hours=73))
    custody.keeper.sweep()
    assert shelf.notes() == [(clip, "expired", "retention: deadline")]
    assert shelf.clip() in shelf.there(), "a new clip needs no index"


def test_a_sweep_lets_others_in_between(shelf: Shelf) -> None:
    """A node that was off for days has much to delete; receipts and orders wait for twenty clips and no more."""
    for _ in range(50):
        shelf.clip()
    keeper = shelf.custody().keeper
    shelf.clock.runs(timedelta(hours=73))
    left = []
    while keeper.sweep():
        left.append(len(shelf.there()))
    assert left == [30, 10]
    assert shelf.there() == []


def test_refused_clips_leave_no_file_open(shelf: Shelf) -> None:
    """A full disk refuses a clip a second for days."""
    spool, opened = shelf.node.spool, manifest(new_clip_id(1), "city/stop-1", recipients(shelf.layout))
    to = [Recipient.parse(one) for one in opened.recipients]
    before = len(list(Path("/proc/self/fd").iterdir()))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        for number in range(5):
            with pytest.raises(OSError):  # noqa: PT011
                spool.begin(msgspec.structs.replace(opened, clip=new_clip_id((9 + number) * 1_000_000)), to)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_torn_checkpoint_is_dropped_and_told(shelf: Shelf) -> None:
    folder = shelf.layout.spool / "01a20d6b-c8ab-7c33-8172-095561562400"
    folder.mkdir(parents=True)
    (folder / "checkpoint.jws").write_bytes(b"")
    (folder / "clip.age").write_bytes(b"")
    shelf.custody().keeper.recover()
    assert not folder.exists()
    ((clip, stage, reason),) = shelf.notes()
    assert (clip, stage) == (folder.name, "dropped")
    assert reason.startswith("torn")


def test_a_broken_outbox_is_begun_anew_with_what_the_folders_hold(shelf: Shelf) -> None:
    """Promise 3: a database that broke is put aside, and the centre hears again of every clip that waits here, once."""
    clips = [shelf.clip(), shelf.clip(trigger="help")]
    shelf.custody().keeper.sweep()
    shelf.close()
    shelf.layout.outbox.write_bytes(b"torn by a dying card " * 500)
    (shelf.layout.spool / "index").unlink()
    keeper = shelf.custody().keeper
    for _ in range(2):
        keeper.sweep()
    said = [(body["clip"], body["stage"], body["trigger"], body["reason"]) for body in shelf.bodies() if body["type"] == "clip"]
    assert said == [(clips[0], "recorded", "presence", "rebuilt"), (clips[1], "recorded", "help", "rebuilt")]


def test_a_disk_that_refuses_a_note_gets_it_later(shelf: Shelf) -> None:
    """Promise 3: a clip's end is journalled and told, if not now then at the next sweep; nothing crashes over it."""
    clip = shelf.clip()
    keeper = shelf.custody().keeper
    shelf.clock.runs(timedelta(hours=73))
    with sqlite3.connect(shelf.layout.outbox) as hog:
        hog.execute("BEGIN IMMEDIATE")
        keeper.sweep()
        assert keeper.telling.trouble is not None
        hog.rollback()
    assert shelf.notes() == []

    def written() -> bool:
        keeper.sweep()
        return keeper.telling.trouble is None

    # After a lock that was held for too long the outbox refuses for four seconds.
    until(written, "the disk takes what waits")
    assert shelf.notes() == [(clip, "expired", "retention: deadline")]
    assert shelf.kinds() == ["clip_expired"]


def test_a_disk_that_refuses_to_delete_is_said_and_asked_again(shelf: Shelf) -> None:
    clip = shelf.clip()
    keeper = shelf.custody().keeper
    shelf.clock.runs(timedelta(hours=73))
    blocker = shelf.layout.spool / f".freed-{clip}"
    blocker.write_text("a file where the clip's folder should go")
    keeper.sweep()
    assert "Not a directory" in str(keeper.telling.trouble)
    blocker.unlink()
    keeper.sweep()
    assert (keeper.telling.trouble, shelf.there()) == (None, [])
    assert shelf.kinds() == ["clip_expired"], "journalled once, however often the disk was asked"


def test_a_disk_that_fills_within_a_line_breaks_no_chain(shelf: Shelf) -> None:
    """R32: half an entry is taken back, so that the next one does not join with it."""
    journal = shelf.custody().journal
    journal.append("before")
    [path] = segments(shelf.layout.journal("camera"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        with pytest.raises(StorageError):
            journal.append("refused")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.append("after")
    assert shelf.kinds() == ["before", "after"]


def test_the_list_of_clips_needs_no_manifest_that_the_index_has(shelf: Shelf) -> None:
    clip = shelf.clip()
    done = subprocess.run(
        [BIN / "lykta", "--root", shelf.layout.root, "clips", "list", "--json"], capture_output=True, text=True, check=True
    )
    [listed] = json.loads(done.stdout)["clips"]
    assert (listed["clip"], listed["state"], listed["trigger"]) == (clip, "complete", "presence")


def test_work_that_fails_by_a_fault_of_its_own_stands_in_nobodys_way() -> None:
    """Trying again helps where a disk refuses, not where the work is wrong: it is counted, raised, and what follows is done."""
    later, done = Backlog(), list[str]()

    def wrong() -> None:
        raise ValueError("cannot be written, ever")

    with pytest.raises(ValueError, match="ever"):
        later.add(wrong)
    later.add(lambda: done.append("next"))
    later.retry()
    assert (done, later.lost, later.trouble) == (["next"], 1, None)
