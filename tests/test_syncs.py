"""Promise 3 on any file system: what is told was synced, its bytes by their file and its names by their folders.

ext4 commits more than it was asked for, so that the power-cut replay forgives some missing syncs; this trace forgives none.
"""

from __future__ import annotations

import pytest

from tests.injection import Run, StrictDisk
from tests.powercut.store import enrol
from tests.powercut.told import Fact

WATCHED = "openat,write,pwrite64,pwritev,pwritev2,fsync,fdatasync,rename,mkdir,unlink,unlinkat,rmdir,ftruncate"
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
        case ["sealed" | "freed", clip, *_]:
            return [f"{VAR}/spool/{clip}", f"{VAR}/spool/head"]
    return []


def test_what_was_told_was_synced(run: Run) -> None:
    """R27, R32."""
    disk, facts, found = StrictDisk(run.root), iter(run.facts), []
    for line in run.trace():
        if disk.take(line):
            fact = next(facts)
            found += [f"{fact[:2]}: {what}" for what in disk.unsafe(*concerned(fact))]
    assert next(facts, None) is None
    assert found == []
    assert disk.rash == []


def test_each_kind_of_fact_was_told(run: Run) -> None:
    """Or the test before this one would show less than it says."""
    assert {str(fact[0]) for fact in run.facts} >= {"head", "put", "deleted", "synced", "sealed", "freed"}
