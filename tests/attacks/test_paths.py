"""What lies in a folder of somebody with fewer rights leads nowhere: links, second names, pipes, devices, depth (14.B5, 14.B6)."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from agent.clips.index import clip_names
from agent.root.link_rescue import MINUTE, RescueState
from drivers.clock import SystemClock
from privacy.errors import LyktaError
from privacy.records.journal import segments
from provisioning.layout import CODE
from tests.support.clip_node import ClipNode
from tests.support.clip_node_commands import HANGS_S, NOBODY, given_to_nobody, lykta, ordered, trust_host
from tests.support.clips import central, example, made
from tests.support.nodes import BIN
from tests.support.odd_files import deep, odd

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: acts as two users")


# -- root in the camera's folders (14.B6) --------------------------------------------------------------------------------


def written(clip_node: ClipNode, clip: str) -> list[Path]:
    """Where a command writes that obeys the first order, a hold: each file, and the name under which it comes to be."""
    files = [
        segments_begin(clip_node),
        clip_node.layout.camera / "odometer.json",
        clip_node.layout.camera / "orders/00000001.jws",
        clip_node.layout.camera / "orders/00000001.begun",
        clip_node.layout.spool / clip / "hold.jws",
        clip_node.layout.spool / "index",
    ]
    return [*files, *(path.with_name(f".{path.name}.part") for path in files)]


PLACES = pytest.mark.parametrize("place", range(12))


@ROOT
@PLACES
@pytest.mark.parametrize("second_name", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_root_obeys_an_order_with_the_rights_of_the_cameras_user(
    clip_node: ClipNode, tmp_path: Path, second_name: Callable[[Path, Path], None], place: int
) -> None:
    """The camera's user left a second name of a file of root's where the journal, answers and what follows them are written.

    One place at a time: what ends the command at the first one would keep it from all others.
    """
    clip = clip_node.clip()
    given_to_nobody(clip_node)
    victim = tmp_path / "victim"
    victim.write_bytes(b"root's own\n")
    (clip_node.layout.camera / "orders").mkdir(exist_ok=True)
    path = written(clip_node, clip)[place]
    path.unlink(missing_ok=True)
    second_name(victim, path)
    done = ordered(clip_node, clip_node.order("hold", clip))
    assert victim.read_bytes() == b"root's own\n"
    assert victim.stat().st_uid == 0, "root's files stay root's"
    assert "Traceback" not in done.stderr


@ROOT
@PLACES
def test_root_makes_no_file_through_a_link(clip_node: ClipNode, tmp_path: Path, place: int) -> None:
    clip = clip_node.clip()
    given_to_nobody(clip_node)
    goal = tmp_path / "made-by-root"
    (clip_node.layout.camera / "orders").mkdir(exist_ok=True)
    link = written(clip_node, clip)[place]
    link.unlink(missing_ok=True)
    link.symlink_to(goal)
    ordered(clip_node, clip_node.order("hold", clip))
    assert not goal.exists()


@ROOT
@pytest.mark.parametrize("folder", ["journal/retention", "camera", "spool"])
def test_root_gives_no_file_away_through_a_link(clip_node: ClipNode, tmp_path: Path, folder: str) -> None:
    """A link in a folder's place gave the camera's user what lies where it leads: 1,500 files of root's."""
    clip, others = clip_node.clip(), tmp_path / "of root"
    given_to_nobody(clip_node)
    (others / "below").mkdir(parents=True)
    (others / "below/file").write_text("root's own")
    place = clip_node.layout.var / folder
    shutil.move(place, tmp_path / "moved")
    place.symlink_to(others)
    ordered(clip_node, clip_node.order("hold", clip))
    assert {path.stat().st_uid for path in (others, *others.rglob("*"))} == {0}
    assert sorted(path.name for path in others.rglob("*")) == ["below", "file"]


@ROOT
def test_what_root_made_belongs_to_the_cameras_user(clip_node: ClipNode) -> None:
    clip = clip_node.clip()
    given_to_nobody(clip_node)
    done = ordered(clip_node, clip_node.order("hold", clip))
    assert done.returncode == 0, done.stderr
    for folder in (
        clip_node.layout.spool,
        clip_node.layout.camera,
        clip_node.layout.journal("retention"),
        clip_node.layout.outbox.parent,
    ):
        assert {one.stat().st_uid for one in (folder, *folder.rglob("*"))} == {NOBODY}


@ROOT
def test_the_links_rescue_touches_nothing_in_the_services_outbox(clip_node: ClipNode, tmp_path: Path) -> None:
    """SQLite opens its files by name, and whoever may write the folder chooses where the names lead."""
    given_to_nobody(clip_node)
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    clock, course = SystemClock("host"), clip_node.layout.var / "link/course.json"
    course.parent.mkdir()
    course.write_bytes(msgspec.json.encode(RescueState(clock.boot_id, clock.mono_ms(), clock.mono_ms() - 16 * MINUTE)))
    done = lykta(clip_node, "link", "--json", path=tmp_path)
    assert json.loads(done.stdout)["result"] == "done", done.stderr
    assert list(clip_node.layout.outbox.parent.iterdir()) == []


@ROOT
def test_retention_by_hand_acts_as_the_cameras_user(clip_node: ClipNode, tmp_path: Path) -> None:
    old = clip_node.clip(deadline=clip_node.clock.wall - timedelta(hours=1), begin=clip_node.clock.wall - timedelta(hours=73))
    given_to_nobody(clip_node)
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    os.link(victim, segments_begin(clip_node))
    lykta(clip_node, "retention")
    assert victim.read_bytes() == b""
    assert old not in clip_node.there(), "deleting never waits for the journal (R27)"


@ROOT
@odd
def test_an_order_to_wipe_that_is_no_file_is_refused(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    """systemd starts root's command on a path in the camera's folder."""
    given_to_nobody(clip_node)
    odd(clip_node.layout.wipe)
    done = lykta(clip_node, "order", "apply", clip_node.layout.wipe)
    assert done.returncode == 5, done.stderr
    assert clip_node.layout.spool.exists()


def segments_begin(clip_node: ClipNode) -> Path:
    return clip_node.layout.journal("retention") / "0000000000.jws"


# -- the wipe (14.B6) ------------------------------------------------------------------------------------------------------


def wiped(clip_node: ClipNode) -> subprocess.CompletedProcess[str]:
    return lykta(clip_node, "decommission", "--decided", "Anna", "--performed", "Bo", "--case", "K-9", "--yes", "--json")


def test_a_deep_folder_breaks_off_no_wipe(clip_node: ClipNode) -> None:
    clip_node.clip()
    clip_node.layout.inbox.mkdir(exist_ok=True)
    for folder in (clip_node.layout.spool, clip_node.layout.inbox):
        deep(folder, 5_000)
    try:
        done = wiped(clip_node)
        assert (done.returncode, json.loads(done.stdout)["left"]) == (0, []), done.stderr
        assert not any(path.exists() for path in (clip_node.layout.spool, clip_node.layout.inbox, clip_node.layout.certificates))
    finally:
        subprocess.run(["rm", "-rf", clip_node.layout.spool, clip_node.layout.inbox], check=True)


def test_a_wipe_follows_no_link(clip_node: ClipNode, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("of somebody else")
    clip_node.clip()
    (clip_node.layout.spool / "link").symlink_to(other)
    shutil.rmtree(clip_node.layout.inbox, ignore_errors=True)
    clip_node.layout.inbox.symlink_to(other)
    assert wiped(clip_node).returncode == 0
    assert (other / "kept").exists()
    assert not os.path.lexists(clip_node.layout.inbox)


@ROOT
@pytest.mark.parametrize("held", [b"", b"root's own\n"], ids=["empty", "with text"])
def test_the_last_entry_of_a_wipe_is_written_through_no_link(clip_node: ClipNode, tmp_path: Path, held: bytes) -> None:
    """An empty file could be the beginning of a journal, another one is none."""
    clip_node.clip()
    given_to_nobody(clip_node)
    victim = tmp_path / "victim"
    victim.write_bytes(held)
    segments_begin(clip_node).symlink_to(victim)
    done = wiped(clip_node)
    assert done.returncode == 0, done.stderr
    assert victim.read_bytes() == held
    assert not clip_node.layout.spool.exists()


def test_a_deep_folder_keeps_no_clip(clip_node: ClipNode) -> None:
    """R27: the clip beside it goes at its deadline, and so does the one that it lies in."""
    clips = [clip_node.clip(), clip_node.clip()]
    deep(clip_node.layout.spool / clips[0])
    (clip_node.layout.spool / ".freed-old").mkdir()
    deep(clip_node.layout.spool / ".freed-old")
    keeper = clip_node.custody().keeper
    keeper.recover()
    clip_node.clock.runs(timedelta(hours=73))
    keeper.sweep()
    assert clip_node.there() == []
    assert [path.name for path in clip_node.layout.spool.iterdir() if path.is_dir()] == []


# -- what the uplink leaves (14.B5) --------------------------------------------------------------------------------------


def test_a_link_in_place_of_the_inbox_deletes_nothing(clip_node: ClipNode) -> None:
    """A compromised uplink let the camera's user delete its own journal, manifests, answers and revocations."""
    clip = clip_node.clip()
    custody = clip_node.custody()
    custody.orders.obey(clip_node.order("revoke", record="view-1", ground="controller"))
    custody.telling.note("tick")
    clip_node.layout.inbox.mkdir(exist_ok=True)
    for name in ("orders", "receipts"):
        shutil.rmtree(clip_node.layout.inbox / name, ignore_errors=True)
    for target in (
        clip_node.layout.journal("camera"),
        clip_node.layout.spool / clip,
        clip_node.layout.camera / "orders",
        clip_node.layout.camera / "revoked",
    ):
        kept = sorted(path.name for path in target.iterdir())
        assert any(name.endswith(".jws") for name in kept)
        for name in ("orders", "receipts"):
            (clip_node.layout.inbox / name).symlink_to(target)
        custody.attend()
        assert sorted(path.name for path in target.iterdir()) == kept
        for name in ("orders", "receipts"):
            (clip_node.layout.inbox / name).unlink()


@odd
def test_what_is_no_file_in_the_inbox_stops_nobody(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    """The order behind it is obeyed, and the clip that is due goes."""
    clip_node.clip(deadline=clip_node.clock.wall + timedelta(hours=1))
    held = clip_node.clip()
    for name in ("orders", "receipts"):
        (clip_node.layout.inbox / name).mkdir(parents=True, exist_ok=True)
        odd(clip_node.layout.inbox / name / "00000000.jws")
    (clip_node.layout.inbox / "orders/00000001.jws").write_bytes(clip_node.order("hold", held))
    clip_node.clock.runs(timedelta(hours=2))
    custody = clip_node.custody()
    for _ in range(2):
        custody.attend()
    assert clip_node.there() == [held]
    assert custody.spool.has_mark(held, "hold")


@odd
def test_what_the_uplink_leaves_for_root_ends_no_apply(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    """Whatever stands under a record's name is refused and gone afterwards; root's unit would start again for ever."""
    clip_node.layout.desired.mkdir(parents=True)
    for name in ("basis.jws", ".basis.jws.taken", "tls.pem", "junk"):
        odd(clip_node.layout.desired / name)
    (clip_node.layout.desired / "heap").mkdir()
    deep(clip_node.layout.desired / "heap")
    done = lykta(clip_node, "apply", "--json")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert list(clip_node.layout.desired.iterdir()) == []


def test_a_link_in_place_of_desired_is_refused(clip_node: ClipNode, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("kept")
    clip_node.layout.inbox.mkdir(exist_ok=True)
    clip_node.layout.desired.symlink_to(tmp_path / "elsewhere")
    done = lykta(clip_node, "apply")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert (tmp_path / "elsewhere/file").exists()


# -- what the camera shows the uplink, and a technician (14.B5) ----------------------------------------------------------


@odd
def test_a_spool_with_what_is_no_file_hangs_no_command(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    """Every command that looks into the spool ends, names the clip, and does the others."""
    good, bad = clip_node.clip(), clip_node.clip()
    clip_node.custody().telling.note("tick")
    for name in ("manifest.jws", "hold.jws"):
        (clip_node.layout.spool / bad / name).unlink(missing_ok=True)
        odd(clip_node.layout.spool / bad / name)
    (clip_node.layout.spool / "index").unlink()
    odd(clip_node.layout.spool / "index")
    for words in (
        ["clips", "list"],
        ["clips", "verify"],
        ["clips", "copy", clip_node.layout.root / "stick"],
        ["diag", clip_node.layout.root / "diag"],
    ):
        done = lykta(clip_node, *words)
        assert "Traceback" not in done.stderr
    assert clip_names(clip_node.layout.root / "stick", "manifest.jws") == [good]
    listed = lykta(clip_node, "clips", "list")
    assert (listed.returncode, good in listed.stdout, bad in listed.stderr) == (0, True, True), listed.stderr
    verified = lykta(clip_node, "clips", "verify", "--json")
    assert json.loads(verified.stdout)["clips"][good] == "good"


@odd
def test_a_journal_that_is_no_file_hangs_no_command(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    """The camera's folder is read by the uplink and by root: what is no file is no segment, a giant is refused."""
    clip_node.clip()
    clip_node.custody().telling.note("tick")
    odd(clip_node.layout.journal("camera") / "0000000009.jws")
    for words in (
        ["journal", "verify"],
        ["journal", "show", "camera"],
        ["check", "journal"],
        ["clips", "copy", clip_node.layout.root / "stick"],
        ["retention"],
    ):
        done = lykta(clip_node, *words)
        assert "Traceback" not in done.stderr, words
        assert done.returncode in (0, 1, 5), (words, done.stderr)


# -- sticks (14.B5) --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".receipt.jws.part", "receipt.jws"])
def test_a_stick_overwrites_nothing_of_the_centre(clip_node: ClipNode, tmp_path: Path, name: str) -> None:
    """A link at the receipt's temporary name overwrote the centre's own key."""
    stick, before = tmp_path / "stick", (clip_node.keys / "ca.key").read_bytes()
    clip = clip_node.clip()
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    (stick / clip / name).symlink_to(clip_node.keys / "ca.key")
    made("ingest", stick, "--keys", clip_node.keys, "--store", tmp_path / "store")
    assert (clip_node.keys / "ca.key").read_bytes() == before
    assert (stick / clip / "receipt.jws").is_file()
    assert not (stick / clip / "receipt.jws").is_symlink()


@odd
@pytest.mark.parametrize("name", ["manifest.jws", "clip.age"])
def test_a_stick_with_what_is_no_file_keeps_nothing_waiting_at_the_centre(
    clip_node: ClipNode, tmp_path: Path, name: str, odd: Callable[[Path], None]
) -> None:
    stick = tmp_path / "stick"
    bad, good = clip_node.clip(), clip_node.clip()
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    (stick / bad / name).unlink()
    odd(stick / bad / name)
    (stick / "0000").symlink_to(clip_node.keys)
    done = central("ingest", stick, "--keys", clip_node.keys, "--store", tmp_path / "store", "--json")
    said = json.loads(done.stdout)
    assert (said["taken"], [one["id"] for one in said["refused"]]) == ([good], [bad])


@odd
@pytest.mark.parametrize("name", ["receipt.jws", "manifest.jws"])
def test_a_stick_with_what_is_no_file_stops_no_copy(
    clip_node: ClipNode, tmp_path: Path, name: str, odd: Callable[[Path], None]
) -> None:
    stick, clip = tmp_path / "stick", clip_node.clip()
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    (stick / clip / "receipt.jws").write_text(clip_node.receipt(clip))
    (stick / clip / name).unlink()
    odd(stick / clip / name)
    other = clip_node.clip()
    done = lykta(clip_node, "clips", "copy", stick, "--json")
    assert "Traceback" not in done.stderr
    assert (stick / other / "manifest.jws").is_file()
    assert clip_node.there() == [clip, other]


@pytest.mark.parametrize("name", [".clip.age.part", "clip.age", ".manifest.jws.part"])
def test_a_copy_writes_through_no_link_of_the_stick(clip_node: ClipNode, tmp_path: Path, name: str) -> None:
    stick, victim, clip = tmp_path / "stick", tmp_path / "victim", clip_node.clip()
    victim.write_bytes(b"root's own")
    (stick / clip).mkdir(parents=True)
    (stick / clip / name).symlink_to(victim)
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    assert victim.read_bytes() == b"root's own"
    assert (stick / clip / "manifest.jws").is_file()


def test_a_copy_goes_into_no_folder_that_is_a_link(clip_node: ClipNode, tmp_path: Path) -> None:
    stick, other = tmp_path / "stick", tmp_path / "other"
    clips = [clip_node.clip(), clip_node.clip()]
    other.mkdir()
    stick.mkdir()
    (stick / clips[0]).symlink_to(other)
    done = lykta(clip_node, "clips", "copy", stick, "--json")
    assert list(other.iterdir()) == []
    assert (stick / clips[1] / "manifest.jws").is_file(), done.stderr


def test_a_deep_stick_is_freed_all_the_same(clip_node: ClipNode, tmp_path: Path) -> None:
    stick, clip = tmp_path / "stick", clip_node.clip()
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    (stick / clip / "receipt.jws").write_text(clip_node.receipt(clip))
    deep(stick / clip)
    clip_node.custody().keeper.receipt(clip_node.receipt(clip))
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    assert not (stick / clip).exists()


# -- modes (14.B6) ---------------------------------------------------------------------------------------------------------


def test_nothing_is_for_everybody_whatever_the_umask(clip_node: ClipNode, tmp_path: Path) -> None:
    """666 and 777 under umask 000: what a node and its centre make is written by its owner alone, and its folders are closed."""
    trust_host(clip_node)
    before = os.umask(0)
    try:
        held, due = clip_node.clip(), clip_node.clip(deadline=clip_node.clock.wall - timedelta(hours=1))
        custody = clip_node.custody()
        custody.orders.obey(clip_node.order("hold", held))
        custody.attend()
        custody.keeper.save()
    finally:
        os.umask(before)
    assert due not in clip_node.there()
    stick, store = tmp_path / "stick", tmp_path / "store"
    for words in (["retention"], ["clips", "copy", stick], ["diag", clip_node.layout.root / "diag.json"]):
        done = lykta(clip_node, *words, umask=0)
        assert done.returncode == 0, done.stderr
    tool = BIN / "lykta-central"
    for command in (
        [tool, "keygen", tmp_path / "new"],
        [tool, "bundle", tmp_path / "new", "city/stop-2", "--root", tmp_path / "node-2", "--area", "A",
         "--broker", "h:1", "--ingest", "h:2"],
        [tool, "ingest", stick, "--keys", clip_node.keys, "--store", store],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, umask=0)
    wide = [
        f"{path} {stat.S_IMODE(path.lstat().st_mode):o}"
        for folder in (
            clip_node.layout.var,
            stick,
            store,
            tmp_path / "new",
            tmp_path / "node-2",
            clip_node.layout.root / "diag.json",
        )
        for path in (folder, *folder.rglob("*"))
        if path.lstat().st_mode & (0o022 if path.suffix != ".sock" else 0) and not path.name.startswith("state.db")
    ]
    assert wide == []
    assert not any(path.stat().st_mode & 0o007 for path in (clip_node.layout.var / "camera").rglob("*"))


def test_a_closed_folder_is_open_to_its_group_whatever_the_umask(clip_node: ClipNode) -> None:
    """The uplink reads clips through the folder's group."""
    before = os.umask(0o077)
    try:
        clip = clip_node.clip()
    finally:
        os.umask(before)
    folder = clip_node.layout.spool / clip
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}


def test_a_link_is_no_segment(clip_node: ClipNode, tmp_path: Path) -> None:
    """A journal goes on in a file of its own or not at all."""
    journal = clip_node.custody().journal
    [path] = [*segments(clip_node.layout.journal("camera")), clip_node.layout.journal("camera") / "0000000000.jws"][:1]
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LyktaError):
        journal.append("tick")
    assert not (tmp_path / "elsewhere").exists()


def modes(folder: Path) -> dict[str, int]:
    """Of everything below a folder; names that are drawn at random count as one."""
    found = (path for path in (folder, *folder.rglob("*")) if not path.name.startswith("."))
    named = {re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}~?[0-9]*|\d{8}T\d{4}", "ID", str(path.relative_to(folder))): path for path in found}
    return {name: stat.S_IMODE(path.stat().st_mode) for name, path in named.items()}


def test_the_centre_makes_the_same_modes_under_any_umask(clip_node: ClipNode, tmp_path: Path) -> None:
    """Under 077 a bundle's trust folder was closed to its node's services; under 000 folders were open to all."""
    clip = clip_node.clip()
    found: dict[int, dict[str, int]] = {}
    for umask in (0o000, 0o022, 0o077):
        top = tmp_path / f"{umask:03o}"
        top.mkdir()
        shutil.copytree(clip_node.layout.spool / clip, top / "stick" / clip)

        def run(*words: str | Path, umask: int = umask, top: Path = top) -> None:
            command = [sys.executable, "-c", "from central.commands.main import app; app()", *words]
            done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=top, umask=umask, timeout=HANGS_S)
            assert done.returncode == 0, done.stderr

        run("keygen", "keys")
        run("keygen", "keys", "--rotate", "basis")
        run("keygen", "keys", "--retire", "basis")
        where = ("--area", "A", "--broker", "h:1", "--ingest", "h:2")
        run("bundle", "keys", "city/stop-2", "--root", "node", *where)
        run("broker", "keys", "-o", "broker")
        run("sign", "config", drafted(top, "config"), "--keys", "keys", "-o", "signed/config.jws")
        run("sign", "order", drafted(top, "order"), "--keys", "keys", "-o", "signed/order.jws")
        run("ingest", "stick", "--keys", clip_node.keys, "--store", "store", "--journal", "journal")
        run("send", "keys", "city/stop-2", "order", "--file", "signed/order.jws", "--store", "store")
        found[umask] = {name: mode for part in ("keys", "node", "broker", "signed", "store", "journal")
                       for name, mode in ((f"{part}/{name}", mode) for name, mode in modes(top / part).items())}  # fmt: skip
    assert found[0o000] == found[0o022] == found[0o077]
    assert found[0o000]["node/etc/lykta/trust"] == 0o755
    assert not [name for name, mode in found[0o000].items() if mode & 0o022]


def drafted(folder: Path, record: str) -> Path:
    path = folder / f"{record}.json"
    path.write_text(example(record, "city/stop-2"))
    return path


PLAIN = {"mkdir", "makedirs", "touch", "write_text", "write_bytes", "copyfile", "copy2", "copytree"}
"""What makes a file or folder whose mode is the umask's; `privacy/files.py` has the ones whose mode is named."""


def test_the_centre_makes_nothing_by_calls_that_leave_the_mode_to_the_umask() -> None:
    """The test above sees the commands that it runs, this one every line."""
    lines = 'a.mkdir()\nos.open(a, os.O_CREAT)\na.open("w+b")\na.write_text("x")\nopen(a, mode="ab")\nshutil.copyfile(a, b)'
    assert [line for line, _ in left_to_the_umask(lines)] == [*range(1, 7)]
    assert not left_to_the_umask('a.open("rb")\nav.open(a, "r", format="mp4")\nlink.open(host, 1)\nopen(a)\nos.fdopen(a, "wb")')
    files = [path for path in sorted((CODE / "central").rglob("*.py")) if path.stat().st_size]
    found = {str(path): left_to_the_umask(path.read_text()) for path in files}
    assert len(found) > 30
    assert {name: lines for name, lines in found.items() if lines} == {}


def left_to_the_umask(source: str) -> list[tuple[int, str]]:
    """Line and text of each call that makes something without a mode of its own."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return sorted((call.lineno, ast.unparse(call)) for call in calls if _by_umask(call))


def _by_umask(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    name = called.rpartition(".")[2]
    if name != "open":
        return name in PLAIN
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    modes = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return called == "os.open" or any(re.fullmatch(r"[rwaxbt+]*[wax+][rwaxbt+]*", mode) for mode in modes)
