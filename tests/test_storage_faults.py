"""Faults of the disk at every step (promise 3): killed, full, read-only, failing. What was told stays; the rest is refused by name.

The workload runs as a process under strace, which kills it or lets its system calls fail; the invariants of the power-cut
replay judge what is left.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.spool import SealedSink
from privacy.seal import Recipient
from tests.injection import CHANGES, Run
from tests.powercut.invariants import check
from tests.powercut.store import Home, enrol

STEP = 1 if os.environ.get("LYKTA_KILLS") == "all" else 23
"""`make test-root` kills at every call, `make test` at every 23rd."""
STRIPES = 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "home"
    enrol(folder)
    return folder


# -- killed ----------------------------------------------------------------------------------------------------------------


def steps(run: Run) -> list[tuple[str, int]]:
    """Each change of the whole workload: the call, and the so-manieth of its name."""
    assert run.traced(run.words("camera", "neighbours"), "-e", f"trace={CHANGES}") == 0
    names = run.calls()
    return [(name, names[: place + 1].count(name)) for place, name in enumerate(names)]


@pytest.mark.parametrize("stripe", range(STRIPES))
def test_a_kill_at_any_step_loses_nothing_told(tmp_path: Path, home: Path, stripe: int) -> None:
    """`kill -9` at every sync and every change of a name, and once more at some sync of the recovery from it."""
    for place, step in enumerate(steps(Run.at(tmp_path, home))[stripe * STEP :: STRIPES * STEP]):
        run = Run.at(tmp_path / str(place), home)
        run.folder.mkdir()
        assert run.killed(run.words("camera", "neighbours"), *step), step
        run.killed(run.recovery, "fsync", 1 + place % 5)
        assert check(run.root, Home.load(home), run.told) == [], f"killed at {step}"


def test_the_workload_does_everything_that_is_to_be_killed(tmp_path: Path, home: Path) -> None:
    """So that the kills before do meet each kind of act; run through, nothing is lost either."""
    run = Run.at(tmp_path, home)
    assert {name for name, _ in steps(run)} >= {"fsync", "fdatasync", "rename", "mkdir", "unlink", "rmdir"}
    told = run.told
    assert len(told.sealed) + len(told.ending) == 3
    assert told.freed
    assert told.synced
    assert told.deleted
    assert check(run.root, Home.load(home), told) == []


# -- refused ---------------------------------------------------------------------------------------------------------------

AREAS = {"journal": {"journal"}, "outbox": {"put", "delete"}, "spool": {"clip", "receipt", "sweep"}}
FAULTS = [
    ("write", "ENOSPC"),
    ("write", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("openat", "EROFS"),
    ("openat", "ENOSPC"),
    ("fsync", "EIO"),
    ("fdatasync", "EIO"),
    ("rename", "EROFS"),
    ("rename", "ENOSPC"),
    ("mkdir", "ENOSPC"),
    ("mkdir", "EROFS"),
    ("unlink", "EROFS"),
    ("unlinkat", "EIO"),
    ("unlinkat", "EROFS"),
    ("rmdir", "EIO"),
]


def refusing(run: Run, call: str, error: str, first: int, last: int) -> None:
    """Run the stubborn workload while so many of these calls on its store fail."""
    run.root.mkdir(parents=True)
    where = f"inject={call}:error={error}:when={first}..{last}"
    assert run.traced(run.words("stubborn", "camera", "neighbours", rounds=7), "-e", f"trace={call}", "-e", where) == 0
    assert any("INJECTED" in line for line in run.trace()), f"{call} was never refused"


@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_what_the_disk_refuses_is_said_and_nothing_told_is_lost(tmp_path: Path, home: Path, call: str, error: str) -> None:
    """Each write path in turn; afterwards the disk takes writes again and the work goes on."""
    run = Run.at(tmp_path, home)
    own = opening_calls(Run.at(tmp_path / "first", home), call)
    refusing(run, call, error, own + 3, own + 12)
    told = run.told
    assert check(run.root, Home.load(home), told) == []
    assert {kind for act, kind in told.refused if act != "clip"} <= {"StorageError"}, told.refused


def opening_calls(run: Run, call: str) -> int:
    """How many such calls a process makes before its store is open, most of them for Python's own files."""
    run.folder.mkdir()
    assert run.traced(run.words(rounds=0), "-e", f"trace={call}") == 0
    return len(run.trace())


# -- and never over each other ---------------------------------------------------------------------------------------------


def test_a_clip_is_never_written_over_another(tmp_path: Path, home: Path) -> None:
    """Not even where a folder of that name lies there without a checkpoint: O_EXCL, and the bytes stay."""
    who = Home.load(home)
    path = tmp_path / "clip.age"
    path.write_bytes(b"somebody else's")
    with pytest.raises(FileExistsError):
        SealedSink(path, [Recipient.parse(one) for one in who.recipients])
    assert path.read_bytes() == b"somebody else's"
