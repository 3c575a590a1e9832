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

from agent.clips.spool import _FREED
from agent.outbox.backlog import Backlog
from privacy.errors import RecordError, StorageError
from privacy.ids import new_clip_id
from privacy.records.journal import segments
from privacy.records.seal import Recipient
from provisioning.identity import recipients
from tests.support.clip_node import ClipNode
from tests.support.manifests import manifest
from tests.support.nodes import BIN, until


def test_a_clip_is_deleted_at_its_deadline_and_not_before(clip_node: ClipNode) -> None:
    """R27"""
    clip = clip_node.clip()
    keeper = clip_node.custody().keeper
    clip_node.clock.runs(timedelta(hours=71, minutes=59))
    keeper.sweep()
    assert clip_node.there() == [clip]
    clip_node.clock.runs(timedelta(minutes=2))
    keeper.sweep()
    assert clip_node.there() == []
    assert not (clip_node.layout.spool / clip).exists()
    assert clip_node.notes() == [(clip, "expired", "retention: deadline")]
    assert clip_node.kinds() == ["clip_expired"]


def test_a_clock_set_back_keeps_no_clip(clip_node: ClipNode) -> None:
    """R28: the node was on for 72 hours; what its clock says of that does not matter."""
    clip_node.clip()
    keeper = clip_node.custody().keeper
    keeper.sweep()
    clip_node.clock.runs(timedelta(hours=72))
    clip_node.clock.wall -= timedelta(days=300)
    clip_node.clock.known = False
    keeper.sweep()
    assert clip_node.there() == []
    assert clip_node.notes()[0][2] in ("retention: powered", "retention: deadline")


def test_a_node_that_was_off_deletes_when_the_time_is_known_again(clip_node: ClipNode) -> None:
    """R28: sealed clips stay while nobody vouches for the time, six hours of powered time at most; then the deadline decides."""
    clip = clip_node.clip()
    keeper = clip_node.custody().keeper
    keeper.save()
    clip_node.clock.boots("b2")
    clip_node.clock.wall += timedelta(days=9)
    clip_node.clock.known = False
    keeper = clip_node.custody().keeper
    keeper.sweep()
    clip_node.clock.runs(timedelta(hours=5, minutes=50))
    keeper.sweep()
    assert clip_node.there() == [clip]
    clip_node.clock.runs(timedelta(minutes=10))
    keeper.sweep()
    assert clip_node.notes() == [(clip, "expired", "retention: deadline")]


def test_sixty_four_boots_are_the_most(clip_node: ClipNode) -> None:
    """R28: a clock that is never right and a plug that is pulled every minute keep no clip for ever."""
    clip = clip_node.clip()
    clip_node.custody().keeper.save()
    clip_node.clock.known = False
    for boot in range(64):
        clip_node.clock.boots(f"again-{boot}")
        clip_node.custody().keeper.sweep()
    assert clip_node.there() == [clip]
    clip_node.clock.boots("once more")
    clip_node.custody().keeper.sweep()
    assert clip_node.notes() == [(clip, "expired", "retention: boots")]


def test_a_torn_odometer_is_told_and_prolongs_nothing(clip_node: ClipNode) -> None:
    clip = clip_node.clip()
    keeper = clip_node.custody().keeper
    keeper.save()
    (clip_node.layout.camera / "odometer.json").write_bytes(b"{torn")
    clip_node.custody().keeper.sweep()
    assert clip_node.there() == [clip]
    assert "odometer_torn" in clip_node.kinds()
    clip_node.clock.runs(timedelta(hours=72))
    clip_node.custody().keeper.sweep()
    assert clip_node.there() == []


def test_retention_deletes_while_the_camera_is_off(clip_node: ClipNode) -> None:
    """R27: `lykta retention` is another process with another key, and leaves an entry in a chain of its own."""
    old = clip_node.clip(deadline=clip_node.clock.wall - timedelta(hours=1), begin=clip_node.clock.wall - timedelta(hours=73))
    kept = clip_node.clip()
    with clip_node.layout.config.open("a") as file:
        file.write('[clock]\ntrust = "host"\n')
    done = subprocess.run(
        [BIN / "lykta", "--root", clip_node.layout.root, "retention"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert clip_node.there() == [kept]
    assert clip_node.notes() == [(old, "expired", "retention: deadline")]
    assert clip_node.kinds("retention") == ["clip_expired", "heads"]
    assert clip_node.entries("retention")[1].facts.keys() == {"camera"}


def test_a_clip_that_the_disk_will_not_delete_ends_no_sweep(clip_node: ClipNode) -> None:
    """R27: it is deleted as soon as the disk allows it."""
    stubborn = clip_node.clip()
    keeper = clip_node.custody().keeper
    blocked = clip_node.layout.spool / f"{_FREED}{stubborn}"
    (blocked / "x").mkdir(parents=True)
    clip_node.clock.runs(timedelta(hours=80))
    keeper.sweep()
    assert (clip_node.layout.spool / stubborn).exists()
    assert keeper.telling.trouble is not None
    shutil.rmtree(blocked)
    keeper.telling.retry()
    assert not (clip_node.layout.spool / stubborn).exists()


def test_retention_deletes_what_was_never_finished(clip_node: ClipNode) -> None:
    """R27: a camera that stays down leaves a torn clip; its checkpoint says when it must go."""
    folder = clip_node.node.torn(deadline=clip_node.clock.wall + timedelta(hours=72))
    keeper = clip_node.custody("retention").keeper
    clip_node.clock.runs(timedelta(hours=71))
    keeper.sweep()
    assert folder.exists()
    clip_node.clock.runs(timedelta(hours=2))
    keeper.sweep()
    assert not folder.exists()


# -- room --------------------------------------------------------------------------------------------------------------


def test_a_full_quota_drops_routine_then_events_and_never_protected_help(clip_node: ClipNode) -> None:
    """The declared order: routine, events, help presses that followed a protected one within ten minutes; each told."""
    names = {}
    for name, trigger, minutes in (("first", "help", 0), ("second", "help", 1), ("event", "tamper", 1), ("routine", "routine", 1)):
        clip_node.clock.runs(timedelta(minutes=minutes))
        names[name] = clip_node.clip(bytes(600_000), trigger=trigger)
    for quota, gone in ((2, "routine"), (1, "event"), (1, "second")):
        clip_node.custody(quota_mb=quota).keeper.sweep()
        if gone == "second":
            continue
        assert names[gone] not in clip_node.there()
    assert clip_node.there() == [names["first"]]
    assert clip_node.notes() == [(names[name], "dropped", "quota") for name in ("routine", "event", "second")]
    keeper = clip_node.custody(quota_mb=0).keeper
    keeper.sweep()
    assert (clip_node.there(), keeper.dropped) == ([names["first"]], 0)


# -- receipts and holds ------------------------------------------------------------------------------------------------


def test_only_the_centres_own_receipt_for_these_bytes_frees(clip_node: ClipNode) -> None:
    """R27, R30: a forged, a foreign and a replayed receipt free nothing."""
    clip, other = clip_node.clip(), clip_node.clip()
    keeper = clip_node.custody().keeper
    token = clip_node.receipt(clip)
    for wrong in (clip_node.receipt(clip, record_sha256="0" * 64), clip_node.receipt(other, id=clip), token[:-8] + "AAAAAAAA"):
        with pytest.raises(RecordError):
            keeper.receipt(wrong)
    assert clip_node.there() == [clip, other]
    assert keeper.receipt(token)
    with pytest.raises(RecordError, match="no such clip"):
        keeper.receipt(token)
    assert clip_node.there() == [other]
    assert clip_node.kinds() == ["clip_uploaded"]


def test_a_held_clip_outlives_deadline_quota_and_receipt_and_goes_when_released(clip_node: ClipNode) -> None:
    """R29: a hold comes by a signed order with an end; what it kept is freed by the receipt that came meanwhile."""
    clip = clip_node.clip(bytes(600_000))
    custody = clip_node.custody(quota_mb=0)
    custody.orders.obey(clip_node.order("hold", clip))
    custody.keeper.sweep()
    assert not custody.keeper.receipt(clip_node.receipt(clip))
    clip_node.clock.runs(timedelta(hours=100))
    again = clip_node.custody(quota_mb=0)
    again.keeper.sweep()
    assert clip_node.there() == [clip]
    again.orders.obey(clip_node.order("release", clip))
    assert clip_node.there() == []
    assert [note[1:] for note in clip_node.notes()] == [("uploaded", "held"), ("uploaded", "receipt")]


def test_a_hold_ends_at_its_end(clip_node: ClipNode) -> None:
    """R29: also where the clock was set back."""
    clip = clip_node.clip()
    custody = clip_node.custody()
    custody.orders.obey(clip_node.order("hold", clip, until=clip_node.clock.wall + timedelta(days=5)))
    custody.keeper.sweep()
    clip_node.clock.runs(timedelta(days=4, hours=23))
    custody.keeper.sweep()
    assert clip_node.there() == [clip]
    clip_node.clock.runs(timedelta(hours=2))
    clip_node.clock.wall -= timedelta(days=200)
    custody.keeper.sweep()
    assert clip_node.there() == []


def test_a_hold_that_somebody_wrote_is_none(clip_node: ClipNode) -> None:
    """R29: a file in the clip's folder that no trusted key signed keeps nothing, and is noted."""
    clip = clip_node.clip()
    clip_node.node.spool.mark(clip, "hold", clip_node.order("hold", clip, key="receipt"))
    clip_node.clock.runs(timedelta(hours=73))
    clip_node.custody().keeper.sweep()
    assert clip_node.there() == []
    assert "hold_damaged" in clip_node.kinds()


# -- damage ------------------------------------------------------------------------------------------------------------


def test_a_damaged_manifest_neither_stops_the_sweep_nor_keeps_its_clip(clip_node: ClipNode) -> None:
    good, bad = clip_node.clip(), clip_node.clip()
    (clip_node.layout.spool / bad / "manifest.jws").write_bytes(b"torn")
    (clip_node.layout.spool / "index").unlink()
    keeper = clip_node.custody().keeper
    keeper.sweep()
    keeper.sweep()
    assert sorted(clip_node.there()) == sorted([good, bad])
    clip_node.clock.runs(timedelta(hours=80))
    keeper.sweep()
    assert clip_node.there() == []
    assert clip_node.kinds()[0] == "clip_damaged"
    assert clip_node.kinds().count("clip_damaged") == 1
    assert {stage for _, stage, _ in clip_node.notes()} == {"expired"}


def test_a_damaged_index_costs_a_look_and_nothing_else(clip_node: ClipNode) -> None:
    """The index is a cache: a line with one digit changed does not prolong anything."""
    clip = clip_node.clip()
    index = clip_node.layout.spool / "index"
    year = str(clip_node.clock.wall.year).encode()
    index.write_bytes(index.read_bytes().replace(year, b"2999"))
    clip_node.clock.runs(timedelta(hours=73))
    clip_node.custody().keeper.sweep()
    assert clip_node.notes() == [(clip, "expired", "retention: deadline")]


def test_junk_in_the_spool_is_named_and_keeps_nothing(clip_node: ClipNode) -> None:
    """14.E20: everything else is listed and deleted as ever."""
    good, torn = clip_node.clip(), clip_node.clip()
    spool = clip_node.layout.spool
    (spool / torn / "manifest.jws").write_bytes(b"torn")
    (spool / "index").unlink()
    (spool / "photos").mkdir()
    shutil.copy(spool / good / "manifest.jws", spool / "photos/manifest.jws")
    (spool / "note.txt").write_text("x")
    Path(os.fsdecode(bytes(spool) + b"/\xff")).mkdir()
    (spool / ("0" * 36)).symlink_to(spool / good)
    custody = clip_node.custody()
    custody.keeper.recover()
    strange = [entry.facts["name"] for entry in clip_node.entries() if entry.kind == "spool_strange"]
    assert set(strange) == {"0" * 36, "note.txt", "photos", "\\udcff"}
    words = [BIN / "lykta", "--root", clip_node.layout.root, "clips", "list", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    assert ([one["clip"] for one in said["clips"]], list(said["damaged"]), done.returncode) == ([good], [torn], 0)
    assert all(name in done.stderr for name in (torn, "note.txt", "photos", "udcff"))
    clip_node.clock.runs(timedelta(hours=80))
    custody.keeper.sweep()
    assert clip_node.there() == []
    assert (spool / "photos").is_dir(), "what is no clip is somebody's to look at"


def test_what_cannot_be_removed_keeps_no_other_clip(clip_node: ClipNode) -> None:
    """R27: one folder on a bad spot of the card must not stop the camera's start, nor what others are due."""
    clip = clip_node.clip()
    (clip_node.layout.spool / ".freed-stuck").write_text("no folder")
    (clip_node.layout.spool / "index").unlink()
    (clip_node.layout.spool / "index").mkdir()
    custody = clip_node.custody()
    custody.keeper.recover()
    clip_node.clock.runs(timedelta(hours=73))
    custody.keeper.sweep()
    assert clip_node.notes() == [(clip, "expired", "retention: deadline")]
    assert clip_node.clip() in clip_node.there(), "a new clip needs no index"


def test_a_sweep_lets_others_in_between(clip_node: ClipNode) -> None:
    """A node that was off for days has much to delete; receipts and orders wait for twenty clips and no more."""
    for _ in range(50):
        clip_node.clip()
    keeper = clip_node.custody().keeper
    clip_node.clock.runs(timedelta(hours=73))
    left = []
    while keeper.sweep():
        left.append(len(clip_node.there()))
    assert left == [30, 10]
    assert clip_node.there() == []


def test_refused_clips_leave_no_file_open(clip_node: ClipNode) -> None:
    """A full disk refuses a clip a second for days."""
    spool, opened = clip_node.node.spool, manifest(new_clip_id(1), "city/stop-1", recipients(clip_node.layout))
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


def test_a_torn_checkpoint_is_dropped_and_told(clip_node: ClipNode) -> None:
    folder = clip_node.layout.spool / "01a20d6b-c8ab-7c33-8172-095561562400"
    folder.mkdir(parents=True)
    (folder / "checkpoint.jws").write_bytes(b"")
    (folder / "clip.age").write_bytes(b"")
    clip_node.custody().keeper.recover()
    assert not folder.exists()
    ((clip, stage, reason),) = clip_node.notes()
    assert (clip, stage) == (folder.name, "dropped")
    assert reason.startswith("torn")


def test_a_broken_outbox_is_begun_anew_with_what_the_folders_hold(clip_node: ClipNode) -> None:
    """Promise 3: a database that broke is put aside, and the centre hears again of every clip that waits here, once."""
    clips = [clip_node.clip(), clip_node.clip(trigger="help")]
    clip_node.custody().keeper.sweep()
    clip_node.close()
    clip_node.layout.outbox.write_bytes(b"torn by a dying card " * 500)
    (clip_node.layout.spool / "index").unlink()
    keeper = clip_node.custody().keeper
    for _ in range(2):
        keeper.sweep()
    said = [(body["clip"], body["stage"], body["trigger"], body["reason"]) for body in clip_node.bodies() if body["type"] == "clip"]
    assert said == [(clips[0], "recorded", "presence", "rebuilt"), (clips[1], "recorded", "help", "rebuilt")]


def test_a_disk_that_refuses_a_note_gets_it_later(clip_node: ClipNode) -> None:
    """Promise 3: a clip's end is journalled and told, if not now then at the next sweep; nothing crashes over it."""
    clip = clip_node.clip()
    keeper = clip_node.custody().keeper
    clip_node.clock.runs(timedelta(hours=73))
    with sqlite3.connect(clip_node.layout.outbox) as hog:
        hog.execute("BEGIN IMMEDIATE")
        keeper.sweep()
        assert keeper.telling.trouble is not None
        hog.rollback()
    assert clip_node.notes() == []

    def written() -> bool:
        keeper.sweep()
        return keeper.telling.trouble is None

    # After a lock that was held for too long the outbox refuses for four seconds.
    until(written, "the disk takes what waits")
    assert clip_node.notes() == [(clip, "expired", "retention: deadline")]
    assert clip_node.kinds() == ["clip_expired"]


def test_a_disk_that_refuses_to_delete_is_said_and_asked_again(clip_node: ClipNode) -> None:
    clip = clip_node.clip()
    keeper = clip_node.custody().keeper
    clip_node.clock.runs(timedelta(hours=73))
    blocker = clip_node.layout.spool / f".freed-{clip}"
    blocker.write_text("a file where the clip's folder should go")
    keeper.sweep()
    assert "Not a directory" in str(keeper.telling.trouble)
    blocker.unlink()
    keeper.sweep()
    assert (keeper.telling.trouble, clip_node.there()) == (None, [])
    assert clip_node.kinds() == ["clip_expired"], "journalled once, however often the disk was asked"


def test_a_disk_that_fills_within_a_line_breaks_no_chain(clip_node: ClipNode) -> None:
    """R32: half an entry is taken back, so that the next one does not join with it."""
    journal = clip_node.custody().journal
    journal.append("before")
    [path] = segments(clip_node.layout.journal("camera"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        with pytest.raises(StorageError):
            journal.append("refused")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.append("after")
    assert clip_node.kinds() == ["before", "after"]


def test_the_list_of_clips_needs_no_manifest_that_the_index_has(clip_node: ClipNode) -> None:
    clip = clip_node.clip()
    done = subprocess.run(
        [BIN / "lykta", "--root", clip_node.layout.root, "clips", "list", "--json"], capture_output=True, text=True, check=True
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
