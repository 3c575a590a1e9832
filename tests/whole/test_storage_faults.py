"""Faults of the disk at every step (promise 3): killed, full, read-only, failing. What was told stays; the rest is refused by name.

The workload runs as a process under strace, which kills it or lets its system calls fail; the invariants of the power-cut
replay judge what is left.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.clips.spool import SealedSink
from privacy.records.chains import verify_chain
from privacy.records.seal import Recipient
from tests.powercut.invariants import check
from tests.powercut.store import Home, enrol
from tests.support.broker import PATIENCE
from tests.support.injection import CHANGES, Run
from tests.support.nodes import Node, stop, until

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
    assert {name for name, _ in steps(run)} >= {"fsync", "fdatasync", "renameat", "mkdir", "unlink", "unlinkat"}
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
    ("renameat", "EIO"),
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
    assert run.traced(run.words("camera", "neighbours", rounds=0), "-e", f"trace={call}") == 0
    return len(run.trace())


# -- a placed file ---------------------------------------------------------------------------------------------------------

PLACES = """
import sys
from pathlib import Path
from privacy.files import place
try:
    place(Path(sys.argv[1]), b"new" * 99)
except OSError as problem:
    sys.exit(problem.errno)
"""


@pytest.mark.parametrize(("call", "error"), [("write", "ENOSPC"), ("write", "EIO"), ("fsync", "EIO"), ("renameat", "EROFS")])
def test_what_cannot_be_placed_leaves_what_stood_there(tmp_path: Path, home: Path, call: str, error: str) -> None:
    path, run = tmp_path / "record", Run.at(tmp_path, home)
    path.write_bytes(b"old")
    # Two names in an open folder have no path of their own.
    words = [] if call == "renameat" else ["-P", str(tmp_path / ".record.part")]
    words += ["-e", f"trace={call}", "-e", f"inject={call}:error={error}"]
    assert run.traced([sys.executable, "-c", PLACES, str(path)], *words, ends=getattr(errno, error)) == getattr(errno, error)
    assert path.read_bytes() == b"old"
    assert run.traced([sys.executable, "-c", PLACES, str(path)]) == 0
    assert path.read_bytes() == b"new" * 99
    assert sorted(one.name for one in tmp_path.iterdir()) == ["record", "trace"]


# -- a journal entry that was refused --------------------------------------------------------------------------------------

APPENDS = """
import sys
from pathlib import Path
from privacy.errors import StorageError
from tests.powercut.store import Home
from privacy.records.journal import Journal
from datetime import UTC, datetime
home = Home.load(Path(sys.argv[1]))
journal = Journal(Path(sys.argv[2]), "io", home.signers["io"], lambda: datetime.now(UTC))
for number in range(4):
    try:
        journal.append("tick", number=number)
    except StorageError:
        print("refused", number)
"""


def test_an_entry_whose_sync_failed_is_taken_back(tmp_path: Path, home: Path) -> None:
    """The kernel may forget such bytes, and a later sync would not say so (fsync, "EIO"): the chain goes on without it."""
    run, folder = Run.at(tmp_path, home), tmp_path / "journal"
    folder.mkdir()
    where = "inject=fsync:error=EIO:when=4"  # the segment's, its folder's, the second entry's, and then the third's
    assert run.traced([sys.executable, "-c", APPENDS, str(home), str(folder)], "-e", "trace=fsync", "-e", where) == 0
    chain = verify_chain(folder, "io", Home.load(home).authority)
    assert [entry.facts["number"] for entry in chain.entries] == [0, 1, 3]


# -- and never over each other ---------------------------------------------------------------------------------------------


def test_a_clip_is_never_written_over_another(tmp_path: Path, home: Path) -> None:
    """Not even where a folder of that name lies there without a checkpoint: O_EXCL, and the bytes stay."""
    who = Home.load(home)
    path = tmp_path / "clip.age"
    path.write_bytes(b"somebody else's")
    with pytest.raises(FileExistsError):
        SealedSink(path, [Recipient.parse(one) for one in who.recipients])
    assert path.read_bytes() == b"somebody else's"


# -- the whole service -----------------------------------------------------------------------------------------------------


def fail(node: Node, call: str, error: str) -> subprocess.Popen[bytes]:
    """From now on the first three such calls of each of the camera's threads fail."""
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when=1..3"]
    words = ["strace", "-f", "-qq", "-o", str(node.root / "trace"), *inject, "-p", str(node.status("camera")["pid"])]
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    threads = Path(f"/proc/{node.status('camera')['pid']}/task")
    until(lambda: all("TracerPid:\t0\n" not in path.read_text() for path in threads.glob("*/status")), "strace follows each thread")
    return process


def film(node: Node, press: str) -> bool:
    """Ask for a clip; whether it was sealed, when either it was or it was refused."""
    detail = node.status("camera")["detail"]
    until(lambda: node.status("camera")["detail"].get("frames", 0) > detail.get("frames", 0) + 15, "pictures in the ring")
    sealed, refused = len(node.clips()), detail.get("clips_refused", 0)
    node.trigger(press)
    until(lambda: len(node.clips()) > sealed or node.status("camera")["detail"]["clips_refused"] > refused, "the clip's end")
    return len(node.clips()) > sealed


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the camera lets no other user trace it")
@pytest.mark.parametrize(("call", "error"), [("fsync", "EIO"), ("mkdir", "EROFS"), ("rename", "ENOSPC")][: 3 if STEP == 1 else 1])
def test_the_camera_films_on_over_a_failing_disk(node: Node, request: pytest.FixtureRequest, call: str, error: str) -> None:
    """After a failed sync the clip is not trusted: dropped, counted, told; soon a trigger seals one that verifies."""
    node.settings(record__post_roll="1", record__pre_roll="1")
    service = node.start("camera")
    request.addfinalizer(service.kill)
    until(lambda: node.state("camera")[0] == "ready", "ready")
    tracer = fail(node, call, error)
    request.addfinalizer(tracer.kill)
    sealed = [film(node, f"press-{number}") for number in range(4)]
    assert node.status("camera")["detail"]["clips_refused"]
    assert sealed[-1]
    until(lambda: node.state("camera") == ("ready", "filming"), "all is well again", 40)
    assert stop(service) == 0, node.log()
    tracer.wait(PATIENCE * 10)
    assert "INJECTED" in (node.root / "trace").read_text()
    assert node.run("check", "journal").returncode == 0
    for clip in node.clips():
        assert node.run("clips", "verify", clip.name).returncode == 0
    assert {path.name for path in node.layout.spool.iterdir() if path.is_dir()} == {clip.name for clip in node.clips()}
