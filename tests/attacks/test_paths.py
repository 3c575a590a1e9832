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
from tests.support.clips import central, example, made
from tests.support.nodes import BIN
from tests.support.odd_files import deep, odd
from tests.support.shelf import Shelf
from tests.support.shelf_commands import HANGS_S, NOBODY, given_to_nobody, lykta, ordered, trust_host

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: acts as two users")


# -- root in the camera's folders (14.B6) --------------------------------------------------------------------------------


def written(shelf: Shelf, clip: str) -> list[Path]:
    """Where a command writes that obeys the first order, a hold: each file, and the name under which it comes to be."""
    files = [
        segments_begin(shelf),
        shelf.layout.camera / "odometer.json",
        shelf.layout.camera / "orders/00000001.jws",
        shelf.layout.camera / "orders/00000001.begun",
        shelf.layout.spool / clip / "hold.jws",
        shelf.layout.spool / "index",
    ]
    return [*files, *(path.with_name(f".{path.name}.part") for path in files)]


PLACES = pytest.mark.parametrize("place", range(12))


@ROOT
@PLACES
@pytest.mark.parametrize("second_name", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_root_obeys_an_order_with_the_rights_of_the_cameras_user(
    shelf: Shelf, tmp_path: Path, second_name: Callable[[Path, Path], None], place: int
) -> None:
    """The camera's user left a second name of a file of root's where the journal, answers and what follows them are written.

    One place at a time: what ends the command at the first one would keep it from all others.
    """
    clip = shelf.clip()
    given_to_nobody(shelf)
    victim = tmp_path / "victim"
    victim.write_bytes(b"root's own\n")
    (shelf.layout.camera / "orders").mkdir(exist_ok=True)
    path = written(shelf, clip)[place]
    path.unlink(missing_ok=True)
    second_name(victim, path)
    done = ordered(shelf, shelf.order("hold", clip))
    assert victim.read_bytes() == b"root's own\n"
    assert victim.stat().st_uid == 0, "root's files stay root's"
    assert "Traceback" not in done.stderr


@ROOT
@PLACES
def test_root_makes_no_file_through_a_link(shelf: Shelf, tmp_path: Path, place: int) -> None:
    clip = shelf.clip()
    given_to_nobody(shelf)
    goal = tmp_path / "made-by-root"
    (shelf.layout.camera / "orders").mkdir(exist_ok=True)
    link = written(shelf, clip)[place]
    link.unlink(missing_ok=True)
    link.symlink_to(goal)
    ordered(shelf, shelf.order("hold", clip))
    assert not goal.exists()


@ROOT
@pytest.mark.parametrize("folder", ["journal/retention", "camera", "spool"])
def test_root_gives_no_file_away_through_a_link(shelf: Shelf, tmp_path: Path, folder: str) -> None:
    """A link in a folder's place gave the camera's user what lies where it leads: 1,500 files of root's."""
    clip, others = shelf.clip(), tmp_path / "of root"
    given_to_nobody(shelf)
    (others / "below").mkdir(parents=True)
    (others / "below/file").write_text("root's own")
    place = shelf.layout.var / folder
    shutil.move(place, tmp_path / "moved")
    place.symlink_to(others)
    ordered(shelf, shelf.order("hold", clip))
    assert {path.stat().st_uid for path in (others, *others.rglob("*"))} == {0}
    assert sorted(path.name for path in others.rglob("*")) == ["below", "file"]


@ROOT
def test_what_root_made_belongs_to_the_cameras_user(shelf: Shelf) -> None:
    clip = shelf.clip()
    given_to_nobody(shelf)
    done = ordered(shelf, shelf.order("hold", clip))
    assert done.returncode == 0, done.stderr
    for folder in (shelf.layout.spool, shelf.layout.camera, shelf.layout.journal("retention"), shelf.layout.outbox.parent):
        assert {one.stat().st_uid for one in (folder, *folder.rglob("*"))} == {NOBODY}


@ROOT
def test_the_links_rescue_touches_nothing_in_the_services_outbox(shelf: Shelf, tmp_path: Path) -> None:
    """SQLite opens its files by name, and whoever may write the folder chooses where the names lead."""
    given_to_nobody(shelf)
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    clock, course = SystemClock("host"), shelf.layout.var / "link/course.json"
    course.parent.mkdir()
    course.write_bytes(msgspec.json.encode(RescueState(clock.boot_id, clock.mono_ms(), clock.mono_ms() - 16 * MINUTE)))
    done = lykta(shelf, "link", "--json", path=tmp_path)
    assert json.loads(done.stdout)["result"] == "done", done.stderr
    assert list(shelf.layout.outbox.parent.iterdir()) == []


@ROOT
def test_retention_by_hand_acts_as_the_cameras_user(shelf: Shelf, tmp_path: Path) -> None:
    old = shelf.clip(deadline=shelf.clock.wall - timedelta(hours=1), begin=shelf.clock.wall - timedelta(hours=73))
    given_to_nobody(shelf)
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    os.link(victim, segments_begin(shelf))
    lykta(shelf, "retention")
    assert victim.read_bytes() == b""
    assert old not in shelf.there(), "deleting never waits for the journal (R27)"


@ROOT
@odd
def test_an_order_to_wipe_that_is_no_file_is_refused(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    """systemd starts root's command on a path in the camera's folder."""
    given_to_nobody(shelf)
    odd(shelf.layout.wipe)
    done = lykta(shelf, "order", "apply", shelf.layout.wipe)
    assert done.returncode == 5, done.stderr
    assert shelf.layout.spool.exists()


def segments_begin(shelf: Shelf) -> Path:
    return shelf.layout.journal("retention") / "0000000000.jws"


# -- the wipe (14.B6) ------------------------------------------------------------------------------------------------------


def wiped(shelf: Shelf) -> subprocess.CompletedProcess[str]:
    return lykta(shelf, "decommission", "--decided", "Anna", "--performed", "Bo", "--case", "K-9", "--yes", "--json")


def test_a_deep_folder_breaks_off_no_wipe(shelf: Shelf) -> None:
    shelf.clip()
    shelf.layout.inbox.mkdir(exist_ok=True)
    for folder in (shelf.layout.spool, shelf.layout.inbox):
        deep(folder, 5_000)
    try:
        done = wiped(shelf)
        assert (done.returncode, json.loads(done.stdout)["left"]) == (0, []), done.stderr
        assert not any(path.exists() for path in (shelf.layout.spool, shelf.layout.inbox, shelf.layout.certificates))
    finally:
        subprocess.run(["rm", "-rf", shelf.layout.spool, shelf.layout.inbox], check=True)


def test_a_wipe_follows_no_link(shelf: Shelf, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("of somebody else")
    shelf.clip()
    (shelf.layout.spool / "link").symlink_to(other)
    shutil.rmtree(shelf.layout.inbox, ignore_errors=True)
    shelf.layout.inbox.symlink_to(other)
    assert wiped(shelf).returncode == 0
    assert (other / "kept").exists()
    assert not os.path.lexists(shelf.layout.inbox)


@ROOT
@pytest.mark.parametrize("held", [b"", b"root's own\n"], ids=["empty", "with text"])
def test_the_last_entry_of_a_wipe_is_written_through_no_link(shelf: Shelf, tmp_path: Path, held: bytes) -> None:
    """An empty file could be the beginning of a journal, another one is none."""
    shelf.clip()
    given_to_nobody(shelf)
    victim = tmp_path / "victim"
    victim.write_bytes(held)
    segments_begin(shelf).symlink_to(victim)
    done = wiped(shelf)
    assert done.returncode == 0, done.stderr
    assert victim.read_bytes() == held
    assert not shelf.layout.spool.exists()


def test_a_deep_folder_keeps_no_clip(shelf: Shelf) -> None:
    """R27: the clip beside it goes at its deadline, and so does the one that it lies in."""
    clips = [shelf.clip(), shelf.clip()]
    deep(shelf.layout.spool / clips[0])
    (shelf.layout.spool / ".freed-old").mkdir()
    deep(shelf.layout.spool / ".freed-old")
    keeper = shelf.custody().keeper
    keeper.recover()
    shelf.clock.runs(timedelta(hours=73))
    keeper.sweep()
    assert shelf.there() == []
    assert [path.name for path in shelf.layout.spool.iterdir() if path.is_dir()] == []


# -- what the uplink leaves (14.B5) --------------------------------------------------------------------------------------


def test_a_link_in_place_of_the_inbox_deletes_nothing(shelf: Shelf) -> None:
    """A compromised uplink let the camera's user delete its own journal, manifests, answers and revocations."""
    clip = shelf.clip()
    custody = shelf.custody()
    custody.orders.obey(shelf.order("revoke", record="view-1", ground="controller"))
    custody.telling.note("tick")
    shelf.layout.inbox.mkdir(exist_ok=True)
    for name in ("orders", "receipts"):
        shutil.rmtree(shelf.layout.inbox / name, ignore_errors=True)
    for target in (
        shelf.layout.journal("camera"),
        shelf.layout.spool / clip,
        shelf.layout.camera / "orders",
        shelf.layout.camera / "revoked",
    ):
        kept = sorted(path.name for path in target.iterdir())
        assert any(name.endswith(".jws") for name in kept)
        for name in ("orders", "receipts"):
            (shelf.layout.inbox / name).symlink_to(target)
        custody.attend()
        assert sorted(path.name for path in target.iterdir()) == kept
        for name in ("orders", "receipts"):
            (shelf.layout.inbox / name).unlink()


@odd
def test_what_is_no_file_in_the_inbox_stops_nobody(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    """The order behind it is obeyed, and the clip that is due goes."""
    shelf.clip(deadline=shelf.clock.wall + timedelta(hours=1))
    held = shelf.clip()
    for name in ("orders", "receipts"):
        (shelf.layout.inbox / name).mkdir(parents=True, exist_ok=True)
        odd(shelf.layout.inbox / name / "00000000.jws")
    (shelf.layout.inbox / "orders/00000001.jws").write_bytes(shelf.order("hold", held))
    shelf.clock.runs(timedelta(hours=2))
    custody = shelf.custody()
    for _ in range(2):
        custody.attend()
    assert shelf.there() == [held]
    assert custody.spool.has_mark(held, "hold")


@odd
def test_what_the_uplink_leaves_for_root_ends_no_apply(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    """Whatever stands under a record's name is refused and gone afterwards; root's unit would start again for ever."""
    shelf.layout.desired.mkdir(parents=True)
    for name in ("basis.jws", ".basis.jws.taken", "tls.pem", "junk"):
        odd(shelf.layout.desired / name)
    (shelf.layout.desired / "heap").mkdir()
    deep(shelf.layout.desired / "heap")
    done = lykta(shelf, "apply", "--json")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert list(shelf.layout.desired.iterdir()) == []


def test_a_link_in_place_of_desired_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("kept")
    shelf.layout.inbox.mkdir(exist_ok=True)
    shelf.layout.desired.symlink_to(tmp_path / "elsewhere")
    done = lykta(shelf, "apply")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert (tmp_path / "elsewhere/file").exists()


# -- what the camera shows the uplink, and a technician (14.B5) ----------------------------------------------------------


@odd
def test_a_spool_with_what_is_no_file_hangs_no_command(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    """Every command that looks into the spool ends, names the clip, and does the others."""
    good, bad = shelf.clip(), shelf.clip()
    shelf.custody().telling.note("tick")
    for name in ("manifest.jws", "hold.jws"):
        (shelf.layout.spool / bad / name).unlink(missing_ok=True)
        odd(shelf.layout.spool / bad / name)
    (shelf.layout.spool / "index").unlink()
    odd(shelf.layout.spool / "index")
    for words in (
        ["clips", "list"],
        ["clips", "verify"],
        ["clips", "copy", shelf.layout.root / "stick"],
        ["diag", shelf.layout.root / "diag"],
    ):
        done = lykta(shelf, *words)
        assert "Traceback" not in done.stderr
    assert clip_names(shelf.layout.root / "stick", "manifest.jws") == [good]
    listed = lykta(shelf, "clips", "list")
    assert (listed.returncode, good in listed.stdout, bad in listed.stderr) == (0, True, True), listed.stderr
    verified = lykta(shelf, "clips", "verify", "--json")
    assert json.loads(verified.stdout)["clips"][good] == "good"


@odd
def test_a_journal_that_is_no_file_hangs_no_command(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    """The camera's folder is read by the uplink and by root: what is no file is no segment, a giant is refused."""
    shelf.clip()
    shelf.custody().telling.note("tick")
    odd(shelf.layout.journal("camera") / "0000000009.jws")
    for words in (
        ["journal", "verify"],
        ["journal", "show", "camera"],
        ["check", "journal"],
        ["clips", "copy", shelf.layout.root / "stick"],
        ["retention"],
    ):
        done = lykta(shelf, *words)
        assert "Traceback" not in done.stderr, words
        assert done.returncode in (0, 1, 5), (words, done.stderr)


# -- sticks (14.B5) --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".receipt.jws.part", "receipt.jws"])
def test_a_stick_overwrites_nothing_of_the_centre(shelf: Shelf, tmp_path: Path, name: str) -> None:
    """A link at the receipt's temporary name overwrote the centre's own key."""
    stick, before = tmp_path / "stick", (shelf.keys / "ca.key").read_bytes()
    clip = shelf.clip()
    assert lykta(shelf, "clips", "copy", stick).returncode == 0
    (stick / clip / name).symlink_to(shelf.keys / "ca.key")
    made("ingest", stick, "--keys", shelf.keys, "--store", tmp_path / "store")
    assert (shelf.keys / "ca.key").read_bytes() == before
    assert (stick / clip / "receipt.jws").is_file()
    assert not (stick / clip / "receipt.jws").is_symlink()


@odd
@pytest.mark.parametrize("name", ["manifest.jws", "clip.age"])
def test_a_stick_with_what_is_no_file_keeps_nothing_waiting_at_the_centre(
    shelf: Shelf, tmp_path: Path, name: str, odd: Callable[[Path], None]
) -> None:
    stick = tmp_path / "stick"
    bad, good = shelf.clip(), shelf.clip()
    assert lykta(shelf, "clips", "copy", stick).returncode == 0
    (stick / bad / name).unlink()
    odd(stick / bad / name)
    (stick / "0000").symlink_to(shelf.keys)
    done = central("ingest", stick, "--keys", shelf.keys, "--store", tmp_path / "store", "--json")
    said = json.loads(done.stdout)
    assert (said["taken"], [one["id"] for one in said["refused"]]) == ([good], [bad])


@odd
@pytest.mark.parametrize("name", ["receipt.jws", "manifest.jws"])
def test_a_stick_with_what_is_no_file_stops_no_copy(shelf: Shelf, tmp_path: Path, name: str, odd: Callable[[Path], None]) -> None:
    stick, clip = tmp_path / "stick", shelf.clip()
    assert lykta(shelf, "clips", "copy", stick).returncode == 0
    (stick / clip / "receipt.jws").write_text(shelf.receipt(clip))
    (stick / clip / name).unlink()
    odd(stick / clip / name)
    other = shelf.clip()
    done = lykta(shelf, "clips", "copy", stick, "--json")
    assert "Traceback" not in done.stderr
    assert (stick / other / "manifest.jws").is_file()
    assert shelf.there() == [clip, other]


@pytest.mark.parametrize("name", [".clip.age.part", "clip.age", ".manifest.jws.part"])
def test_a_copy_writes_through_no_link_of_the_stick(shelf: Shelf, tmp_path: Path, name: str) -> None:
    stick, victim, clip = tmp_path / "stick", tmp_path / "victim", shelf.clip()
    victim.write_bytes(b"root's own")
    (stick / clip).mkdir(parents=True)
    (stick / clip / name).symlink_to(victim)
    assert lykta(shelf, "clips", "copy", stick).returncode == 0
    assert victim.read_bytes() == b"root's own"
    assert (stick / clip / "manifest.jws").is_file()


def test_a_copy_goes_into_no_folder_that_is_a_link(shelf: Shelf, tmp_path: Path) -> None:
    stick, other = tmp_path / "stick", tmp_path / "other"
    clips = [shelf.clip(), shelf.clip()]
    other.mkdir()
    stick.mkdir()
    (stick / clips[0]).symlink_to(other)
    done = lykta(shelf, "clips", "copy", stick, "--json")
    assert list(other.iterdir()) == []
    assert (stick / clips[1] / "manifest.jws").is_file(), done.stderr


def test_a_deep_stick_is_freed_all_the_same(shelf: Shelf, tmp_path: Path) -> None:
    stick, clip = tmp_path / "stick", shelf.clip()
    assert lykta(shelf, "clips", "copy", stick).returncode == 0
    (stick / clip / "receipt.jws").write_text(shelf.receipt(clip))
    deep(stick / clip)
    shelf.custody().keeper.receipt(shelf.receipt(clip))
    assert lykta(shelf, "clips", "copy", stick).returncode == 0
    assert not (stick / clip).exists()


# -- modes (14.B6) ---------------------------------------------------------------------------------------------------------


def test_nothing_is_for_everybody_whatever_the_umask(shelf: Shelf, tmp_path: Path) -> None:
    """666 and 777 under umask 000: what a node and its centre make is written by its owner alone, and its folders are closed."""
    trust_host(shelf)
    before = os.umask(0)
    try:
        held, due = shelf.clip(), shelf.clip(deadline=shelf.clock.wall - timedelta(hours=1))
        custody = shelf.custody()
        custody.orders.obey(shelf.order("hold", held))
        custody.attend()
        custody.keeper.save()
    finally:
        os.umask(before)
    assert due not in shelf.there()
    stick, store = tmp_path / "stick", tmp_path / "store"
    for words in (["retention"], ["clips", "copy", stick], ["diag", shelf.layout.root / "diag.json"]):
        done = lykta(shelf, *words, umask=0)
        assert done.returncode == 0, done.stderr
    tool = BIN / "lykta-central"
    for command in (
        [tool, "keygen", tmp_path / "new"],
        [tool, "bundle", tmp_path / "new", "city/stop-2", "--root", tmp_path / "node-2", "--area", "A",
         "--broker", "h:1", "--ingest", "h:2"],
        [tool, "ingest", stick, "--keys", shelf.keys, "--store", store],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, umask=0)
    wide = [
        f"{path} {stat.S_IMODE(path.lstat().st_mode):o}"
        for folder in (shelf.layout.var, stick, store, tmp_path / "new", tmp_path / "node-2", shelf.layout.root / "diag.json")
        for path in (folder, *folder.rglob("*"))
        if path.lstat().st_mode & (0o022 if path.suffix != ".sock" else 0) and not path.name.startswith("state.db")
    ]
    assert wide == []
    assert not any(path.stat().st_mode & 0o007 for path in (shelf.layout.var / "camera").rglob("*"))


def test_a_closed_folder_is_open_to_its_group_whatever_the_umask(shelf: Shelf) -> None:
    """The uplink reads clips through the folder's group."""
    before = os.umask(0o077)
    try:
        clip = shelf.clip()
    finally:
        os.umask(before)
    folder = shelf.layout.spool / clip
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}


def test_a_link_is_no_segment(shelf: Shelf, tmp_path: Path) -> None:
    """A journal goes on in a file of its own or not at all."""
    journal = shelf.custody().journal
    [path] = [*segments(shelf.layout.journal("camera")), shelf.layout.journal("camera") / "0000000000.jws"][:1]
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


def test_the_centre_makes_the_same_modes_under_any_umask(shelf: Shelf, tmp_path: Path) -> None:
    """Under 077 a bundle's trust folder was closed to its node's services; under 000 folders were open to all."""
    clip = shelf.clip()
    found: dict[int, dict[str, int]] = {}
    for umask in (0o000, 0o022, 0o077):
        top = tmp_path / f"{umask:03o}"
        top.mkdir()
        shutil.copytree(shelf.layout.spool / clip, top / "stick" / clip)

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
        run("ingest", "stick", "--keys", shelf.keys, "--store", "store", "--journal", "journal")
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
