"""Promise 3 on any file system: what is told was synced, its bytes by their file and its names by their folders.

ext4 commits more than it was asked for, so that the power-cut replay forgives some missing syncs; this trace forgives none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.powercut.store import enrol
from tests.powercut.told import Fact
from tests.support.injection import Run, StrictDisk

WATCHED = "openat,write,pwrite64,pwritev,pwritev2,fsync,fdatasync,rename,renameat,mkdir,unlink,unlinkat,rmdir,ftruncate,truncate"
VAR = "var/lib/lykta"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("syncs")
    enrol(folder / "home")
    run = Run.at(folder, folder / "home")
    run.root.mkdir()
    assert run.traced(run.words("camera", "neighbours"), "-e", f"trace={WATCHED}") == 0
    return run


def concerned(fact: Fact) -> list[str]:
    """Where the things lie that a fact claims to be safe."""
    match fact:
        case ["head", unit, _]:
            return [f"{VAR}/journal/{unit}"]
        case ["put" | "deleted", *_]:
            return [f"{VAR}/outbox/state.db-wal"]
        case ["synced", clip, *_]:
            return [f"{VAR}/spool/{clip}"]
        case ["obeyed", *_]:
            return [f"{VAR}/camera/orders"]
        case ["held", clip]:
            return [f"{VAR}/spool/{clip}"]
        case ["sealed" | "freed", clip, *_]:
            return [f"{VAR}/spool/{clip}", f"{VAR}/spool/head"]
    return []


def held(run: Run, before: list[Path], unsynced: list[Path]) -> tuple[list[str], list[str]]:
    """Facts of the traced process that a crash could have made untrue; names that were given before their bytes were safe.

    before   what was there when it began; unsynced: files of these, written by a process that was killed
    """
    disk, told, found = StrictDisk(run.root, {*map(str, unsynced)}, known={*map(str, before)}), iter(run.facts), []
    for line in run.trace():
        if disk.take(line):
            fact = next(told)
            found += [f"{fact[:2]}: {what}" for what in disk.unsafe(*concerned(fact))]
    assert next(told, None) is None
    return found, disk.rash


def test_what_was_told_was_synced(run: Run) -> None:
    """R27, R32."""
    assert held(run, [], []) == ([], [])


def test_what_a_recovery_tells_was_synced(run: Run, tmp_path: Path) -> None:
    """R27: the second power cut in a row; the clip that ran when the process was killed is cut, signed as torn and told."""
    crashed, torn = Run.at(tmp_path, run.home), []
    for number in range(12, 60, 3):
        crashed.root.mkdir(exist_ok=True)
        assert crashed.killed(crashed.words("camera", "neighbours"), "fdatasync", number)
        if torn := [path.parent for path in crashed.root.glob(f"{VAR}/spool/*/checkpoint.jws")]:
            break
    assert torn
    for path in torn:
        with (path / "clip.age").open("ab") as file:
            file.write(b"half a chunk")
    (tmp_path / "marks").unlink()
    before = list(crashed.root.rglob("*"))
    assert crashed.traced(crashed.recovery, "-e", f"trace={WATCHED}") == 0
    assert {str(fact[1]) for fact in crashed.facts if fact[0] == "sealed"} >= {path.name for path in torn}
    assert held(crashed, before, [file for path in torn for file in (path / "clip.age", path / "masks.age")]) == ([], [])


def test_each_kind_of_fact_was_told(run: Run) -> None:
    """Or the test before this one would show less than it says."""
    assert {str(fact[0]) for fact in run.facts} >= {"head", "put", "deleted", "synced", "sealed", "freed", "obeyed", "held"}
