"""Promise 3 on real ext4: a disk without room, one that is read-only, one that dies under the running node."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.messages import Help
from privacy.errors import StorageError
from privacy.journal import Journal
from tests.powercut import disk
from tests.powercut.invariants import check
from tests.powercut.store import Home, enrol, opened_store
from tests.powercut.told import Marks, Told, facts
from tests.powercut.workload import run

if disk.INSIDE not in os.environ:
    pytest.skip("`make test-root` runs it where mounts end with it", allow_module_level=True)

SIZE = 14 << 20
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
        assert store.keeper.later.trouble is None
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
