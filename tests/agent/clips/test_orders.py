"""Orders (R29, R30, R31, R33, R33b): signed, numbered, obeyed once, answered, journalled; by socket, inbox and file."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from agent.clips.custody import Custody
from agent.clips.order_check import Unit
from agent.inbox.inbox import folder_of
from agent.runtime.config import load
from drivers.clock import SystemClock
from privacy.errors import RecordError
from privacy.records.jws import peek
from privacy.records.order import Order
from provisioning.identity import load_permit, revocations
from provisioning.layout import Layout
from tests.support.broker import PATIENCE
from tests.support.clip_node import ClipNode
from tests.support.clips import example, made
from tests.support.nodes import BIN

GOOD = {"ground": "accident", "decided": "Anna Ek", "performed": "Bo Al"}


def test_an_order_is_obeyed_once_and_answered_the_same_again(clip_node: ClipNode) -> None:
    """R33b: the answer names the order by its hash; a repetition changes nothing and gets the same bytes."""
    clip = clip_node.clip()
    orders = clip_node.custody().orders
    token = clip_node.order("export", clip)
    first = orders.obey(token)
    answer = clip_node.answer(first)
    assert (answer.number, answer.act, answer.result, answer.clips, answer.unit) == (1, "export", "done", (clip,), "camera")
    clip_node.node.spool.unmark(clip, "export")
    assert clip_node.custody().orders.obey(token) == first
    assert clip_node.node.spool.marked(clip, "export") is None
    assert clip_node.kinds() == ["order"]
    facts = clip_node.entries()[0].facts
    assert (facts["decided"], facts["performed"], facts["case"], facts["ground"]) == ("Anna Ek", "Bo Al", "K-7", "accident")
    assert [body["type"] for body in clip_node.bodies()] == ["order"]
    assert clip_node.answer(clip_node.bodies()[0]["jws"].encode()) == answer


def test_a_used_number_a_foreign_key_and_another_nodes_order_are_refused(clip_node: ClipNode) -> None:
    clip = clip_node.clip()
    orders = clip_node.custody().orders
    orders.obey(clip_node.order("hold", clip))
    with pytest.raises(RecordError, match="used by another order"):
        orders.obey(clip_node.order("erase", clip, number=1))
    with pytest.raises(RecordError, match="not trusted"):
        orders.obey(clip_node.order("erase", clip, key="receipt"))
    with pytest.raises(RecordError, match="is for city/stop-2"):
        orders.obey(clip_node.order("erase", clip, node="stop-2"))
    assert clip_node.there() == [clip]


def test_only_a_hold_holds(clip_node: ClipNode) -> None:
    """R29: another order of a trusted key, laid into a clip's folder under the name of a hold, keeps nothing."""
    clip = clip_node.clip()
    clip_node.node.spool.mark(clip, "hold", clip_node.order("export", clip, until=clip_node.clock.wall + timedelta(days=99)))
    clip_node.clock.runs(timedelta(hours=73))
    clip_node.custody().keeper.sweep()
    assert clip_node.there() == []
    assert "hold_damaged" in clip_node.kinds()


def test_a_hold_outlives_the_key_that_signed_it_and_a_shorter_hold(clip_node: ClipNode) -> None:
    """R29: after the command key was replaced and its trust retired, what was obeyed under it stands; two holds do not shorten."""
    clip = clip_node.clip()
    orders = clip_node.custody().orders
    orders.obey(clip_node.order("hold", clip, until=clip_node.clock.wall + timedelta(days=30)))
    orders.obey(clip_node.order("hold", clip, until=clip_node.clock.wall + timedelta(days=5)))
    orders.obey(clip_node.order("revoke", record="view-0", ground="controller"))
    made_records(clip_node)
    made("keygen", clip_node.keys, "--rotate", "command")
    made("keygen", clip_node.keys, "--retire", "command")
    made("bundle", clip_node.keys, "--trust-only", clip_node.layout.root)
    with pytest.raises(RecordError, match="not trusted"):
        clip_node.custody().orders.obey(clip_node.node.spool.marked(clip, "hold") or b"")
    clip_node.clock.runs(timedelta(days=6))
    clip_node.custody("retention").keeper.sweep()
    assert clip_node.there() == [clip]
    load_permit(clip_node.layout, "city", "stop-1", "standard", "yolox-nano+yunet")
    clip_node.clock.runs(timedelta(days=25))
    clip_node.custody().keeper.sweep()
    assert clip_node.there() == []


def test_a_hold_that_another_process_obeyed_stops_the_cameras_own_sweep(clip_node: ClipNode) -> None:
    """R29: `lykta retention` obeys while the camera, which looked at the clip before, still runs."""
    clip, other = clip_node.clip(), clip_node.clip()
    camera = clip_node.custody().keeper
    camera.sweep()
    clip_node.custody("retention").orders.obey(clip_node.order("hold", clip, until=clip_node.clock.wall + timedelta(days=30)))
    clip_node.clock.runs(timedelta(hours=73))
    camera.sweep()
    assert clip_node.there() == [clip]
    assert not camera.receipt(clip_node.receipt(clip))
    assert clip_node.there() == [clip]
    assert clip_node.notes()[0] == (other, "expired", "retention: deadline")


def test_a_span_finds_clips_that_the_index_lost(clip_node: ClipNode) -> None:
    clip = clip_node.clip(end=clip_node.clock.wall + timedelta(seconds=60))
    (clip_node.layout.spool / "index").unlink()
    inside = clip_node.clock.wall + timedelta(seconds=30)
    token = clip_node.order("hold", since=inside, to=inside + timedelta(seconds=5))
    assert clip_node.answer(clip_node.custody().orders.obey(token)).clips == (clip,)


def _obey(root: Path, token: bytes, unit: Unit, answers: multiprocessing.Queue[bytes]) -> None:
    config = load(Layout(root).config)
    custody = Custody.take(Layout(root), config, SystemClock("host"), unit, timedelta(hours=72), lambda _record: None)
    answers.put(custody.orders.obey(token))


def test_two_processes_obey_an_order_once(clip_node: ClipNode) -> None:
    """R33b: a slow order comes by the inbox too while it is being obeyed; there is one answer, one entry."""
    for _ in range(30):
        clip_node.clip()
    token = clip_node.order("erase", since=clip_node.clock.wall - timedelta(hours=1), to=clip_node.clock.wall + timedelta(hours=1))
    spawn = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[bytes] = spawn.Queue()
    units: tuple[Unit, Unit] = ("camera", "retention")
    workers = [spawn.Process(target=_obey, args=(clip_node.layout.root, token, unit, answers)) for unit in units]
    for worker in workers:
        worker.start()
    said = [answers.get(timeout=PATIENCE * 60) for _ in workers]
    for worker in workers:
        worker.join(PATIENCE * 60)
    assert said[0] == said[1]
    assert len(clip_node.answer(said[0]).clips) == 30
    assert [kind for unit in units for kind in clip_node.kinds(unit) if kind == "order"] == ["order"]


def test_an_order_that_comes_too_late_is_answered_and_not_obeyed(clip_node: ClipNode) -> None:
    clip = clip_node.clip()
    token = clip_node.order("erase", clip, until=clip_node.clock.wall + timedelta(minutes=1))
    clip_node.clock.runs(timedelta(minutes=2))
    answer = clip_node.answer(clip_node.custody().orders.obey(token))
    assert (answer.result, answer.reason) == ("refused", "late")
    assert clip_node.there() == [clip]


def test_erase_takes_a_span_of_time_but_nothing_that_is_held(clip_node: ClipNode) -> None:
    """R29, R31: one held clip keeps the whole order from being obeyed half; released, it goes with the others."""
    clips = []
    for _ in range(3):
        clips.append(clip_node.clip())
        clip_node.clock.runs(timedelta(minutes=10))
    since, to = clip_node.clock.wall - timedelta(minutes=21), clip_node.clock.wall
    orders = clip_node.custody().orders
    orders.obey(clip_node.order("hold", clips[1]))
    refused = clip_node.answer(orders.obey(clip_node.order("erase", since=since, to=to)))
    assert (refused.result, refused.clips) == ("refused", (clips[1],))
    assert clip_node.there() == clips
    orders.obey(clip_node.order("release", clips[1]))
    done = clip_node.answer(orders.obey(clip_node.order("erase", since=since, to=to)))
    assert (done.result, set(done.clips)) == ("done", set(clips[1:]))
    assert clip_node.there() == clips[:1]
    assert {note for note in clip_node.notes() if note[1] == "dropped"} == {(clip, "dropped", "order 4") for clip in clips[1:]}


def test_an_erasure_that_a_power_cut_broke_is_finished_and_answered_whole(clip_node: ClipNode) -> None:
    """Promise 3: what was erased before the cut was erased by this order, and the answer says so."""
    clips = [clip_node.clip(), clip_node.clip()]
    token = clip_node.order("erase", *clips)
    done = clip_node.custody().orders.obey(token)
    answers = clip_node.layout.camera / "orders"
    third = clip_node.clip()
    (answers / "00000001.jws").unlink()
    (answers / "00000001.begun").write_text(json.dumps(clips))
    again = clip_node.answer(clip_node.custody().orders.obey(token))
    assert (again.result, again.clips) == ("done", clip_node.answer(done).clips) == ("done", tuple(sorted(clips)))
    assert clip_node.there() == [third]
    assert [path.name for path in answers.glob("*.*") if path.name != ".lock"] == ["00000001.jws"]


def test_an_order_about_clips_that_are_not_here_is_refused(clip_node: ClipNode) -> None:
    answer = clip_node.answer(clip_node.custody().orders.obey(clip_node.order("hold", "01a20d6b-c8ab-7c33-8172-095561562400")))
    assert (answer.result, answer.reason) == ("refused", "no such clip here")


def test_a_revoked_view_opens_no_lens_any_more(clip_node: ClipNode) -> None:
    """R05: the order says so, the running camera hears it, and after a restart the record is refused all the same."""
    made_records(clip_node)
    load_permit(clip_node.layout, "city", "stop-1", "standard", "yolox-nano+yunet")
    orders = clip_node.custody().orders
    token = clip_node.order("revoke", record="view-1", ground="controller")
    assert clip_node.answer(orders.obey(token)).result == "done"
    assert clip_node.revoked == ["view-1"]
    with pytest.raises(RecordError, match="view-1: was revoked by order 1"):
        load_permit(clip_node.layout, "city", "stop-1", "standard", "yolox-nano+yunet")
    for path in revocations(clip_node.layout).iterdir():
        path.unlink()
    orders.obey(token)
    with pytest.raises(RecordError, match="was revoked"):
        load_permit(clip_node.layout, "city", "stop-1", "standard", "yolox-nano+yunet")


def made_records(clip_node: ClipNode) -> None:
    for name in ("basis", "view"):
        source = clip_node.layout.root / f"{name}.json"
        source.write_text(example(name))
        made("sign", name, source, "--keys", clip_node.keys, "-o", getattr(clip_node.layout, name), "--yes")


def test_what_the_uplink_left_is_obeyed_by_retention_while_the_camera_is_away(clip_node: ClipNode) -> None:
    """R29: a hold reaches the clips also when the camera is down; rubbish in the inbox is noted and thrown away."""
    clip, freed = clip_node.clip(), clip_node.clip()
    for what, name, token in (
        ("order", "00000001", clip_node.order("hold", clip)),
        ("order", "00000002", b"rubbish"),
        ("receipt", freed, clip_node.receipt(freed).encode()),
        ("receipt", clip, b"\xff\xfe rubbish"),
    ):
        folder = folder_of(clip_node.layout, "order" if what == "order" else "receipt")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jws").write_bytes(token)
    custody = clip_node.custody("retention")
    custody.attend()
    assert clip_node.there() == [clip]
    assert clip_node.node.spool.marked(clip, "hold") is not None
    assert not [*folder_of(clip_node.layout, "order").iterdir(), *folder_of(clip_node.layout, "receipt").iterdir()]
    assert sorted(clip_node.kinds("retention")) == ["clip_uploaded", "order", "order_refused", "receipt_refused"]
    [answer] = [body["jws"] for body in clip_node.bodies() if "jws" in body]
    assert clip_node.answer(answer.encode()).unit == "retention"


def test_an_order_comes_as_a_file_too(clip_node: ClipNode) -> None:
    """R29, sneaker-net: `lykta order apply FILE` says what came of it; a refused one exits with 1, no order with 5."""
    clip = clip_node.clip()
    with clip_node.layout.config.open("a") as file:
        file.write('[clock]\ntrust = "host"\n')
    for number, (token, code) in enumerate(
        ((clip_node.order("hold", clip), 0), (clip_node.order("erase", clip), 1), (b"rubbish", 5))
    ):
        path = clip_node.layout.root / f"{number}.jws"
        path.write_bytes(token)
        words = [BIN / "lykta", "--root", clip_node.layout.root, "order", "apply", path, "--json"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        if code != 5:
            assert json.loads(done.stdout)["answer"]["clips"] == [clip]
        else:
            assert done.stderr.startswith("error: lykta-order: not a signed record")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files to another user")
def test_what_root_obeyed_belongs_to_the_cameras_user_afterwards(clip_node: ClipNode) -> None:
    """R27: an order applied with sudo must not leave files that stop camera and retention for ever."""
    clip = clip_node.clip()
    for path in (clip_node.layout.spool, *clip_node.layout.spool.rglob("*")):
        os.chown(path, 4321, 4321)
    with clip_node.layout.config.open("a") as file:
        file.write('[clock]\ntrust = "host"\n')
    path = clip_node.layout.root / "order.jws"
    path.write_bytes(clip_node.order("hold", clip))
    subprocess.run([BIN / "lykta", "--root", clip_node.layout.root, "order", "apply", path], check=True, capture_output=True)
    for folder in (clip_node.layout.spool, clip_node.layout.camera, clip_node.layout.journal("retention")):
        assert {one.stat().st_uid for one in (folder, *folder.rglob("*"))} == {4321}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"decided": "bo al "}, "two people"),
        ({"ground": "crime"}, "offence"),
        ({"ground": "controller"}, "ground"),
        ({"clips": ()}, "clips, or since and to"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"since": "2026-01-02T00:00:00Z"}, "since and to"),
        ({"record": "view-1"}, "record"),
        ({"number": 0}, "number"),
    ],
)
def test_an_order_that_names_too_little_is_none(clip_node: ClipNode, changes: dict[str, object], field: str) -> None:
    """R33: an export names a coded ground, a crime an offence, and two people."""
    whole = msgspec.to_builtins(peek(clip_node.order("export", "01a20d6b-c8ab-7c33-8172-095561562400"), "lykta-order", Order))
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(whole | changes, Order)
