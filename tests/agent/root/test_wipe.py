"""Wipe (R31) and what a stick carries: commands in, files and entries out."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from agent.runtime.config import load
from central.keys.keygen import authority, signer
from privacy.errors import UnreachableError
from privacy.records.journal import ENTRY, Entry
from privacy.records.jws import AT_ISSUE, sha256_hex, sign, verify_issued
from privacy.records.manifest import RECEIPT, Receipt, read_manifest
from privacy.records.order import ORDER, Order
from provisioning.identity import load_records
from tests.support.asking import ask
from tests.support.broker import PATIENCE
from tests.support.clip_node import ClipNode
from tests.support.clip_node_commands import lykta
from tests.support.clips import Node as Neighbour
from tests.support.clips import made
from tests.support.nodes import Node, stop, until


def filled(clip_node: ClipNode) -> None:
    for _ in range(3):
        clip_node.clip(bytes(100_000))
    custody = clip_node.custody()
    custody.keeper.save()
    custody.telling.note("tick")
    (clip_node.layout.models).mkdir()
    (clip_node.layout.models / "model.onnx").write_bytes(b"nobody's data")


def wiped(clip_node: ClipNode, done: subprocess.CompletedProcess[str], **facts: object) -> None:
    """Nothing is left but models, settings and the centre's public keys; the last entry was printed before, and verifies."""
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["schema"], said["left"]) == ("lykta.wipe/1", [])
    line = next(line for line in done.stderr.splitlines() if line.startswith("last entry: ")).removeprefix("last entry: ")
    entry, by = verify_issued(line.encode(), ENTRY, authority(clip_node.keys), "retention", Entry, AT_ISSUE)
    assert (entry.kind, by.name) == ("wiped", "city/stop-1")
    assert entry.facts.items() >= facts.items()
    root = clip_node.layout.root
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.name.endswith(".order")}
    assert left == {
        "etc/lykta/lykta.toml",
        "etc/lykta/trust/ca.pem",
        "etc/lykta/trust/basis-keys.jws",
        "etc/lykta/trust/command-keys.jws",
        "etc/lykta/trust/recipients.txt",
        "var/lib/lykta/models/model.onnx",
    }


def test_a_wipe_by_order_leaves_no_key_and_no_clip(clip_node: ClipNode) -> None:
    filled(clip_node)
    order = clip_node.layout.root / "7.order"
    order.write_bytes(clip_node.order("wipe", ground="controller", case="stolen"))
    wiped(clip_node, lykta(clip_node, "order", "apply", order, "--json"), case="stolen", number=1)


def test_a_wipe_that_came_over_the_air_is_left_for_root_after_its_answer(clip_node: ClipNode) -> None:
    """R31: the camera may not remove keys; it answers, writes the order down, and root's unit applies that file."""
    filled(clip_node)
    custody = clip_node.custody()
    assert clip_node.answer(custody.orders.obey(clip_node.order("wipe", ground="controller"))).result == "done"
    assert clip_node.there(), "nothing is gone before root has verified the order again"
    wiped(clip_node, lykta(clip_node, "order", "apply", clip_node.layout.wipe, "--json"), number=1)


def test_a_wipe_that_a_power_cut_broke_is_finished_without_a_key_to_sign_with(clip_node: ClipNode) -> None:
    """R31: root's unit runs again at the next boot; whatever is gone already, the other keys go too."""
    filled(clip_node)
    clip_node.custody().orders.obey(clip_node.order("wipe", ground="controller"))
    (clip_node.layout.credentials / "retention.key").unlink()
    done = lykta(clip_node, "order", "apply", clip_node.layout.wipe, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["entry"].startswith("none: ")
    assert not list(clip_node.layout.root.rglob("*.key"))
    assert not clip_node.layout.spool.exists()


def test_on_site_two_people_and_a_yes_are_needed(clip_node: ClipNode) -> None:
    filled(clip_node)
    words = ["decommission", "--decided", "Anna Ek", "--performed", "Bo Al", "--case", "K-9", "--json"]
    refused = lykta(clip_node, *words)
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    alone = [word.replace("Bo Al", "anna ek") for word in words]
    assert lykta(clip_node, *alone, "--yes").returncode == 2
    assert len(clip_node.there()) == 3
    wiped(clip_node, lykta(clip_node, *words, "--yes"), case="K-9", decided="Anna Ek", performed="Bo Al")


def test_an_order_of_a_stranger_wipes_nothing(clip_node: ClipNode) -> None:
    filled(clip_node)
    order = clip_node.layout.root / "7.order"
    order.write_bytes(clip_node.order("wipe", ground="controller", key="receipt"))
    done = lykta(clip_node, "order", "apply", order)
    assert done.returncode == 5
    assert "not trusted" in done.stderr
    assert len(clip_node.there()) == 3


# -- a stick -------------------------------------------------------------------------------------------------------------


def test_a_stick_carries_sealed_clips_out_and_receipts_back(clip_node: ClipNode, tmp_path: Path) -> None:
    """R30, sneaker-net: what is copied is complete and opens for the centre alone; a receipt that came back frees its clip."""
    stick = tmp_path / "stick"
    clips = [clip_node.clip(b"video" * 50_000) for _ in range(2)]
    done = lykta(clip_node, "clips", "copy", stick, "--json")
    assert json.loads(done.stdout) | {"folder": ""} == {
        "schema": "lykta.clips-copy/1", "copied": 2, "freed": 0, "held": 0, "failed": 0, "segments": 0, "folder": "",
    }  # fmt: skip
    identity = pyrage.x25519.Identity.from_str((clip_node.keys / "identity.txt").read_text().strip())
    for clip in clips:
        assert sorted(path.name for path in (stick / clip).iterdir()) == ["clip.age", "manifest.jws", "masks.age"]
        assert pyrage.decrypt((stick / clip / "clip.age").read_bytes(), [identity]) == b"video" * 50_000
    (stick / clips[0] / "receipt.jws").write_text(clip_node.receipt(clips[0]))
    third = clip_node.clip()
    done = lykta(clip_node, "clips", "copy", stick, "--json")
    assert (json.loads(done.stdout)["copied"], json.loads(done.stdout)["freed"]) == (1, 0)
    assert clip_node.there() == [*clips, third], "the camera is away: its inbox has the receipt"
    clip_node.custody("retention").attend()
    assert clip_node.there() == [clips[1], third]
    assert json.loads(lykta(clip_node, "clips", "copy", stick, "--json").stdout)["copied"] == 0
    assert sorted(path.name for path in stick.iterdir()) == sorted([clips[1], third])


def test_the_centre_takes_a_stick_and_its_receipts_free_the_node(clip_node: ClipNode, tmp_path: Path) -> None:
    """R30, R32, sneaker-net whole: clips and closed segments reach the store as over the network; the second visit frees."""
    stick, store = tmp_path / "stick", tmp_path / "store"
    clip = clip_node.clip(b"video" * 5_000)
    custody = clip_node.custody()
    custody.telling.note("tick")
    clip_node.clock.wall += timedelta(days=1)
    custody.telling.note("tick")
    said = json.loads(lykta(clip_node, "clips", "copy", stick, "--json").stdout)
    assert (said["copied"], said["segments"]) == (1, 1)
    made("ingest", stick, "--keys", clip_node.keys, "--store", store)
    here = store / "city/stop-1"
    assert (here / clip / "receipt.jws").exists()
    segment = here / "journal/camera/0000000000.jws"
    assert segment.read_bytes() == (clip_node.layout.journal("camera") / segment.name).read_bytes()
    said = json.loads(lykta(clip_node, "clips", "copy", stick, "--json").stdout)
    assert (said["copied"], said["segments"], said["failed"]) == (0, 0, 0)
    clip_node.custody("retention").attend()
    assert clip_node.there() == []


def test_a_stick_serves_several_nodes(clip_node: ClipNode, tmp_path: Path) -> None:
    """What another node's receipts wait for stays on the stick."""
    stick, clip = tmp_path / "stick", clip_node.clip()
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    foreign = Neighbour(clip_node.keys, "city/stop-2", tmp_path / "other")
    theirs = foreign.clip()
    shutil.copytree(theirs, stick / theirs.name)
    (stick / theirs.name / "receipt.jws").write_text("of another node")
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    assert sorted(path.name for path in stick.iterdir()) == sorted([clip, theirs.name])


def test_a_copy_to_what_is_no_folder_is_refused(clip_node: ClipNode, tmp_path: Path) -> None:
    """A stick that is not mounted; one that is full: tests/root/test_small_disk.py."""
    clip_node.clip()
    (tmp_path / "file").write_text("no folder")
    done = lykta(clip_node, "clips", "copy", tmp_path / "file")
    assert done.returncode == 1
    assert "is the stick mounted" in done.stderr
    assert len(clip_node.there()) == 1


def test_what_an_order_holds_is_listed_and_counted_apart(node: Node, tmp_path: Path) -> None:
    """14.F21: with its receipt handed in the clip stays, and was counted as freed; no list said why it stays."""
    stick, process = tmp_path / "stick", node.start("camera")
    try:
        until(lambda: node.state("camera")[0] == "ready", "the camera films", 40)
        node.trigger()
        clip = until(lambda: helped(node), "a clip is complete", 60)[0]["clip"]
        folder = node.layout.spool / clip
        (tmp_path / "hold.jws").write_bytes(holding(node, folder))
        assert "held" not in line_of(node, clip)
        assert node.run("order", "apply", str(tmp_path / "hold.jws")).returncode == 0
        assert "held" in line_of(node, clip)
        assert [one.get("held") for one in helped(node)] == [True]
        assert node.run("clips", "copy", str(stick)).returncode == 0
        (stick / clip / "receipt.jws").write_bytes(received(node, folder))
        said = json.loads(node.run("clips", "copy", str(stick), "--json").stdout)
        assert (said["freed"], said.get("held"), folder.exists()) == (0, 1, True)
    finally:
        stop(process)


def helped(node: Node) -> list[dict[str, Any]]:
    """Complete clips of a press, as the list has them; others are recorded beside them."""
    clips = json.loads(node.run("clips", "list", "--json").stdout)["clips"]
    return [clip for clip in clips if (clip["trigger"], clip["state"]) == ("help", "complete")]


def line_of(node: Node, clip: str) -> str:
    return next(line for line in node.run("clips", "list").stdout.splitlines() if line.startswith(clip))


def holding(node: Node, folder: Path) -> bytes:
    site, now = load(node.layout.config).node, datetime.now(UTC)
    people = ("accident", "K-1", "Anna Ek", "Bo Al", now, now + timedelta(days=7))
    return sign(Order(1, "hold", site.site, site.id, *people, (folder.name,)), signer(node.centre, "command"), ORDER)


def received(node: Node, folder: Path) -> bytes:
    """As the centre signs it for this clip."""
    token = (folder / "manifest.jws").read_bytes()
    manifest = read_manifest(token, authority(node.centre))[0]
    whole = Receipt(folder.name, "clip", manifest.site, manifest.node, sha256_hex(token), manifest.files, manifest.end)
    return sign(whole, signer(node.centre, "receipt"), RECEIPT)


# -- journals, as a technician reads them ----------------------------------------------------------------------------------


def test_the_journals_are_shown_and_held_against_each_other(clip_node: ClipNode) -> None:
    """R32: `journal verify` ends with 5 and names unit and entry where somebody cut the camera's chain."""
    camera, retention = clip_node.custody(), clip_node.custody("retention")
    for number in range(3):
        camera.telling.note("tick", number=number)
    retention.telling.note("heads", camera=str(camera.journal.head))
    shown = json.loads(lykta(clip_node, "journal", "show", "camera", "--last", "2", "--json").stdout)
    assert [entry["facts"]["number"] for entry in shown["entries"]] == [1, 2]
    verified = json.loads(lykta(clip_node, "journal", "verify", "--json").stdout)
    assert (verified["heads_held"], verified["units"]["camera"]["length"]) == (1, 3)
    path = clip_node.layout.journal("camera") / "0000000000.jws"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    done = lykta(clip_node, "journal", "verify")
    assert done.returncode == 5
    assert "camera: ends after 2 entries, retention entry 0 saw 3" in done.stderr
    assert lykta(clip_node, "journal", "show", "kitchen").returncode == 2


def test_a_running_camera_obeys_notes_heads_and_stops_at_a_revocation(node: Node, tmp_path: Path) -> None:
    """R05, R32: as the uplink asks it, over the socket; a revoked view ends it with 5, and it stays down."""
    centre_keys = node.centre
    process = node.start("camera")
    try:
        until(lambda: node.state("camera")[0] == "ready", "the camera films", 40)
        uplink = node.layout.socket("camera", "uplink")
        assert ask(uplink, {"verb": "heads", "heads": {"uplink": "1:" + "a" * 64}}) == {"noted": 1}
        with pytest.raises(Exception, match="not a signed record"):
            ask(uplink, {"verb": "order", "jws": "rubbish"})
        node.trigger()
        until(node.clips, "a clip is finished", 40)
        token = revocation(centre_keys, node)
        with_answer = ask(uplink, {"verb": "order", "jws": token})
        assert "answer" in with_answer
        assert process.wait(PATIENCE * 20) == 5
        assert node.run("camera").returncode == 5
        entries = json.loads(node.run("journal", "show", "camera", "--last", "99", "--json").stdout)["entries"]
        assert {"service_on", "heads", "order", "clip_recorded"} <= {entry["kind"] for entry in entries}
    finally:
        if process.poll() is None:
            stop(process)
    with pytest.raises(UnreachableError):
        ask(uplink, {"verb": "status"})


def revocation(keys: Path, node: Node) -> str:
    site, now = load(node.layout.config).node, datetime.now(UTC)
    view = load_records(node.layout)[1]
    people = ("controller", "K-1", "Anna Ek", "Bo Al", now, now + timedelta(hours=1))
    return sign(Order(1, "revoke", site.site, site.id, *people, record=view.id), signer(keys, "command"), ORDER).decode()
