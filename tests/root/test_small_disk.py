"""Promise 3 on real ext4: a disk without room, one that is read-only, one that dies under the running node."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import pytest

from agent.clips.spool import Spool
from agent.demo.run import Demo
from agent.messages import Help
from drivers.disk import room_of
from privacy.errors import StorageError
from privacy.ids import new_clip_id
from privacy.records.journal import Journal
from privacy.records.seal import Recipient
from provisioning.identity import load_authority, load_signer, recipients
from tests.powercut import disk
from tests.powercut.invariants import check
from tests.powercut.store import Home, enrol, opened_store
from tests.powercut.told import Marks, Told, facts
from tests.powercut.workload import run
from tests.support.clip_node import ClipNode
from tests.support.clip_node_commands import lykta
from tests.support.manifests import manifest
from tests.support.nodes import Node, stop, until

if disk.INSIDE not in os.environ:
    pytest.skip("`make test-root` runs it where mounts end with it", allow_module_level=True)

SIZE = 14 << 20
SPACIOUS, FILES = 256 << 20, 512
_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN (Linux, fs/ext4/ext4.h): the file system stops, as it does when its card no longer answers."""
_WITHOUT_ITS_LOG = 2


@pytest.fixture
def home(tmp_path: Path) -> Home:
    enrol(tmp_path / "home")
    return Home.load(tmp_path / "home")


@contextmanager
def small(tmp_path: Path) -> Iterator[str]:
    """A loop device with an empty file system."""
    disk.make(tmp_path / "disk.raw", SIZE)
    (tmp_path / "mnt").mkdir()
    with disk.loop(tmp_path / "disk.raw", SIZE) as device:
        yield device


def told(tmp_path: Path) -> Told:
    return Told.of(fact for path in sorted(tmp_path.glob("marks-*")) for fact in facts(path.read_bytes()))


ACTORS = ("camera", "neighbours")


def refusal(act: Callable[[], object]) -> str:
    """The hint of the `StorageError` that this ends with."""
    with pytest.raises(StorageError) as problem:
        act()
    return problem.value.hint


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(tmp_path: Path, home: Home) -> None:
    """ENOSPC from the disk itself, while clips run, entries are written and messages are put."""
    with small(tmp_path) as device, disk.mounted(device, tmp_path / "mnt") as root:
        _fill(tmp_path, root, home)
        assert check(root, home, told(tmp_path)) == []


def _fill(tmp_path: Path, root: Path, home: Home) -> None:
    with opened_store(root, home) as store:
        run(store, Marks(tmp_path / "marks-1", 0), 2, ACTORS)
        ballast = root / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):  # noqa: PT012 - until it is full
            while True:
                file.write(bytes(4096))
        run(store, Marks(tmp_path / "marks-2", 0), 4, ACTORS, first=2, stubborn=True)
        refused = told(tmp_path).refused
        assert refused
        assert {error for act, error in refused if act != "clip"} == {"StorageError"}
        ballast.unlink()
        store.keeper.sweep()
        assert store.keeper.telling.trouble is None
        done = len(told(tmp_path).sealed)
        run(store, Marks(tmp_path / "marks-3", 0), 4, ACTORS, first=6)
        assert len(told(tmp_path).sealed) > done
        assert told(tmp_path).refused == refused


def test_a_disk_that_dies_keeps_what_was_told(tmp_path: Path, home: Home) -> None:
    """EIO from every call; nothing is told any more, and the next start finds all that was told before."""
    with small(tmp_path) as device:
        with disk.mounted(device, tmp_path / "mnt") as root, opened_store(root, home) as store:
            run(store, Marks(tmp_path / "marks-1", 0), 3, ACTORS)
            with (root / "door").open("w") as door:
                fcntl.ioctl(door, _SHUTDOWN, struct.pack("I", _WITHOUT_ITS_LOG))
            before = told(tmp_path)
            run(store, Marks(tmp_path / "marks-2", 0), 3, ACTORS, first=3, stubborn=True)
            after = told(tmp_path)
            assert (after.heads, after.sealed, after.stored) == (before.heads, before.sealed, before.stored)
            assert {act for act, _ in after.refused} == {"journal"}
            with pytest.raises(StorageError):
                store.outbox.put(Help("late", "pressed"))
            with pytest.raises(OSError, match="Input/output"):
                store.film().begin()
        with disk.mounted(device, tmp_path / "mnt") as root:
            assert check(root, home, after) == []


def test_a_read_only_disk_is_a_storage_error_and_changes_nothing(tmp_path: Path, home: Home) -> None:
    """EROFS, as ext4 leaves a card that failed at boot: each part says so with a hint, none claims to have stored anything."""
    with small(tmp_path) as device:
        with disk.mounted(device, tmp_path / "mnt") as root, opened_store(root, home) as store:
            run(store, Marks(tmp_path / "marks-1", 0), 3, ACTORS)
        with disk.mounted(device, tmp_path / "mnt", read_only=True) as root:
            layout = store.layout
            journal = Journal(layout.journal("io"), "io", home.signers["io"], store.clock.now)
            # A process of its own: what it holds open ends with it.
            words = ["tests.powercut.workload", root, tmp_path / "home", tmp_path / "marks-2", "0", "1", "neighbours"]
            done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
            assert "StorageError: outbox" in done.stderr
            assert refusal(lambda: journal.append("tick"))
            with pytest.raises(OSError, match="Read-only"):
                store.film().begin()
        with disk.mounted(device, tmp_path / "mnt") as root:
            assert check(root, home, told(tmp_path)) == []


def test_a_stick_that_is_full_costs_the_copy_only(clip_node: ClipNode, tmp_path: Path) -> None:
    """ENOSPC amid a clip: it leaves nothing there, the others are whole, the node has all, and the next visit goes on."""
    clips = [clip_node.clip(bytes(size)) for size in (1000, 3 << 20, 1000)]
    with small(tmp_path) as device, disk.mounted(device, tmp_path / "mnt") as stick:
        ballast = stick / "ballast"
        ballast.write_bytes(bytes(room_of(stick).free - (1 << 20)))
        done = lykta(clip_node, "clips", "copy", stick, "--json")
        said = json.loads(done.stdout)
        assert (done.returncode, said["copied"], said["failed"]) == (1, 2, 1)
        assert f"{clips[1]}: " in done.stderr
        assert "No space left" in done.stderr
        assert copied(stick) == {clips[0], clips[2]}
        assert clip_node.there() == clips
        assert lykta(clip_node, "clips", "verify").returncode == 0
        ballast.unlink()
        done = lykta(clip_node, "clips", "copy", stick, "--json")
        assert (done.returncode, json.loads(done.stdout)["copied"]) == (0, 1), done.stderr
        assert copied(stick) == set(clips)


def copied(stick: Path) -> set[str]:
    """Clips on a stick, each with all its files; whatever else is there fails."""
    folders = {path for path in stick.iterdir() if path.name not in ("ballast", "lost+found")}
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {"clip.age", "masks.age", "manifest.jws"}, folder
    return {folder.name for folder in folders}


@contextmanager
def few_files(tmp_path: Path) -> Iterator[Path]:
    """A mounted disk with room for bytes, and for few files; what lies in /run on a node is not on it."""
    disk.make(tmp_path / "disk.raw", SPACIOUS, "-N", str(FILES))
    (tmp_path / "mnt").mkdir()
    with disk.loop(tmp_path / "disk.raw", SPACIOUS) as device, disk.mounted(device, tmp_path / "mnt") as root:
        (root / "node/run").mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "node/run"], check=True)
        try:
            yield root
        finally:
            subprocess.run(["umount", root / "node/run"], check=True)


def sealed(node: Node, keep: timedelta) -> str:
    """A clip of an earlier boot in the node's spool, that is kept for so long from now; its id."""
    layout, now = node.layout, datetime.now(UTC)
    said = {"begin": now - timedelta(hours=9), "deadline": now + keep}
    opened = manifest(new_clip_id(time.time_ns()), "linkoping-demo/stop-1", recipients(layout), **said)
    spool = Spool(layout.spool, load_signer(layout, "camera"), load_authority(layout))
    sinks = spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
    for sink in sinks:
        sink.feed(b"sealed")
    spool.finish(msgspec.structs.replace(opened, state="complete", files=tuple(sink.close() for sink in sinks)))
    return opened.clip


def take_all(folder: Path) -> None:
    """Every file that the disk still has room for, all empty."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(OSError, match="No space"):  # noqa: PT012 - until there are no more
        for number in count(len(list(folder.iterdir()))):
            (folder / f"{number}").touch()
    assert room_of(folder).files_free == 0


def said(node: Node, unit: str) -> list[str]:
    """What a unit's journal has of clips: what happened, and why."""
    shown = json.loads(node.run("journal", "show", unit, "--last", "99", "--json").stdout)
    facts = [(entry["kind"], entry["facts"]) for entry in shown["entries"] if entry["kind"].startswith("clip_")]
    return [f"{kind} {fact['clip']} {fact['reason']}" for kind, fact in facts]


def listed(node: Node) -> set[str]:
    return {one["clip"] for one in json.loads(node.run("clips", "list", "--json").stdout)["clips"]}


def waits(node: Node) -> str:
    return node.run("outbox", "list").stdout


def test_a_disk_without_inodes_is_named_and_everything_goes_on(made: Demo, tmp_path: Path) -> None:
    """14.E20: room for bytes and for no further file. What is there is listed and deleted as ever, and help works."""
    with few_files(tmp_path) as root, ExitStack() as services:
        node = Node(root / "node", made.centre)
        shutil.copytree(made.node, node.root, symlinks=True, dirs_exist_ok=True)
        node.settings(record__mode='"events"')

        def start(name: str) -> None:
            services.callback(end, node.start(name, log=f"{name}.log"))

        start("io")
        until(lambda: node.state("io")[0] == "ready", "io is ready")
        assert stop(filming(node)) == 0
        for clip in node.clips():  # of whoever was in the picture meanwhile
            shutil.rmtree(clip)
        over, fresh = sealed(node, -timedelta(hours=1)), sealed(node, timedelta(hours=48))
        for name in ("camera.log", "uplink.log"):
            (node.root / name).touch()
        take_all(root / "ballast")

        storage = node.run("check", "storage")
        assert (storage.returncode, "room for 0 more files (inodes)" in storage.stdout) == (1, True)
        assert listed(node) == {over, fresh}
        assert node.run("retention").returncode == 0
        assert listed(node) == set()
        assert said(node, "retention") == [f"clip_expired {over} retention: deadline", f"clip_dropped {fresh} no_inodes"]
        take_all(root / "ballast")

        start("camera")
        start("uplink")
        # Whoever is in the picture already wants a clip, too.
        until(lambda: node.state("camera") in {("ready", "filming"), ("degraded", "no_inodes")}, "it films")
        assert node.status("io")["detail"]["lamp"] == "off"
        node.press()
        until(lambda: node.status("io")["detail"]["lamp"] == "blinking", "help is lit")
        until(lambda: node.state("camera") == ("degraded", "no_inodes"), "no clip can be kept, and the state says why")
        until(lambda: "help" in waits(node), "the call for help waits for the link")
        shutil.rmtree(root / "ballast")
        until(lambda: any(line.endswith(" no_inodes") for line in said(node, "camera")), "the refused clip is in the journal")
        node.trigger()
        until(lambda: listed(node), "there is room again, and a clip")
        until(lambda: node.state("camera") == ("ready", "filming"), "all is well")


def filming(node: Node) -> subprocess.Popen[bytes]:
    """The camera, that has filmed once: its folders are there, as on every node but a new one."""
    camera = node.start("camera", log="camera.log")
    until(lambda: node.state("camera") == ("ready", "filming"), "it films")
    return camera


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
