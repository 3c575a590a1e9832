"""The outbox's file: full disks, corrupt databases, three services with one file, and the version before."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.messages import ClipNote, Help, Tombstone
from agent.outbox.outbox import Mark
from agent.ranks import Rank
from privacy.errors import StorageError
from tests.support.broker import PATIENCE
from tests.support.outboxes import HELP, KINDS, WRITER, outbox_at, presses, seqs, tear, tombstones, waiting, writers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox" / "state.db"


def test_a_full_disk_is_a_storage_error_and_loses_nothing(path: Path) -> None:
    """Promise 3: what was stored before stays, what was refused is said to be refused, and later there is room again."""
    outbox = outbox_at(path)
    outbox.put(HELP)
    database = outbox._file._database  # the port of SQLite for a disk without room
    limit = int(database.execute("PRAGMA page_count").fetchone()[0])
    database.execute(f"PRAGMA max_page_count = {limit}")
    with pytest.raises(StorageError, match="full") as refused:
        outbox.put(*[HELP] * 500)
    assert refused.value.hint
    assert presses(outbox) == ["press-1"]
    database.execute("PRAGMA max_page_count = 100000")
    outbox.put(*[HELP] * 500)
    assert seqs(outbox) == list(range(1, 502))


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StorageError, match=r"state\.db") as refused:
        outbox_at(tmp_path / "state.db")
    assert refused.value.hint


def test_wal_and_full_synchronisation_are_on(path: Path) -> None:
    """Promise 3: without both, an acknowledged message would not survive a power cut."""
    outbox = outbox_at(path)
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert outbox._file._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_three_services_may_all_write_a_file_that_one_has_made(path: Path) -> None:
    """Their umask takes the group's right to write; the file, its log and its index must have it."""
    code = "import os, sys\nos.umask(0o027)\n" + WRITER
    subprocess.run([sys.executable, "-c", code, path, "a", "1"], check=True, capture_output=True)
    outbox = outbox_at(path)
    outbox.put(HELP)
    assert {f"{part.stat().st_mode & 0o777:o}" for part in path.parent.iterdir()} == {"660"}


def test_the_database_of_lykta_0_1_is_taken_over(path: Path) -> None:
    """An update loses no message and no number."""
    path.parent.mkdir()
    with sqlite3.connect(path) as old:
        old.executescript("""
            CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE messages (
                seq INTEGER PRIMARY KEY, tail TEXT NOT NULL, retain INTEGER NOT NULL, droppable INTEGER NOT NULL,
                put_ms INTEGER NOT NULL, expiry_s INTEGER, payload BLOB NOT NULL);
            CREATE INDEX droppable ON messages (droppable DESC, seq) WHERE droppable > 0;
            INSERT INTO meta VALUES ('epoch', 'abc'), ('seq', 9);
            INSERT INTO messages VALUES (7, 'health/link', 0, 2, 1, NULL, 'health'), (9, 'alarm/help', 1, 0, 1, 5, 'alarm');
        """)
    old.close()
    outbox = outbox_at(path)
    assert [(one.seq, one.tail, one.expiry_s, one.retain) for one in waiting(outbox)] == [
        (9, "alarm/help", 5, True), (7, "health/link", None, False),
    ]  # fmt: skip
    assert (outbox.epoch, outbox.pending(), outbox.needs_rebuild()) == ("abc", 2, False)
    outbox.put(HELP)
    assert seqs(outbox) == [7, 9, 10]


# -- a corrupt database ------------------------------------------------------------------------------------------------


def test_a_database_that_is_none_is_put_aside_and_a_new_epoch_begins(path: Path) -> None:
    """Nobody guesses what stood there; the centre is told that an epoch is over."""
    outbox = outbox_at(path)
    outbox.put(HELP)
    epoch = outbox.epoch
    outbox.close()
    path.write_bytes(b"torn by a dying card " * 500)
    again = outbox_at(path)
    again.put(HELP)
    assert again.epoch != epoch
    assert presses(again) == ["press-1"]
    assert tombstones(again) == [Tombstone("", "corrupt", ())]
    [aside] = path.parent.glob("state.db.corrupt-*")
    assert aside.read_bytes().startswith(b"torn by")


def test_the_tombstone_of_a_torn_database_names_its_epoch(path: Path) -> None:
    """Promise 3: where the old numbers can still be read, the centre hears which ones may be lost."""
    outbox = outbox_at(path)
    outbox.put(*[HELP] * 2000)
    outbox.close()
    tear(path)
    again = outbox_at(path)
    assert presses(again) == []
    assert tombstones(again) == [Tombstone(outbox.epoch, "corrupt", ((1, 2000),))]


def test_a_database_that_breaks_while_all_run_is_left_by_all(path: Path) -> None:
    """What the camera puts after the uplink put the file aside goes into the new one, and no process that ends takes its log."""
    camera, io, uplink = (outbox_at(path) for _ in range(3))
    camera.put(*[HELP] * 2000)
    camera._file._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    tear(path)
    for _ in range(3):
        uplink.put(Help("uplink", "pressed"))
    io.close()
    camera.put(Help("camera", "pressed"))
    assert uplink.epoch == camera.epoch
    uplink.close()
    camera.close()
    assert presses(outbox_at(path)) == ["uplink"] * 3 + ["camera"]
    assert len([part for part in path.parent.glob("state.db.corrupt-*") if part.suffix[-3:].isdecimal()]) == 1


@pytest.mark.parametrize("ending", ["outbox.close()", "pass"])
def test_a_process_that_ends_on_the_old_file_leaves_the_new_ones_log(path: Path, ending: str) -> None:
    """SQLite deletes a last connection's log by its name, by then the new file's: unless it sees, as it must, that ours moved."""
    code = WRITER + f"sys.stdin.read()\n{ending}\n"
    words = [sys.executable, "-c", code, path, "old", "2000"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "1999\n":
            pass
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        tear(path)
        outbox = outbox_at(path)
        outbox.put(HELP)
        process.communicate(timeout=PATIENCE * 20)
    assert process.returncode == 0
    outbox.put(HELP)
    assert presses(outbox_at(path)) == ["press-1"] * 2


def test_a_full_disk_while_it_is_replaced_is_tried_again(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Item 8: corrupt and full at once; when there is room, the next message makes the new epoch."""
    outbox, other = outbox_at(path), outbox_at(path)
    outbox.put(*[HELP] * 2000)
    outbox._file._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    tear(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        for _ in range(4):  # while it finds the damage, while it begins anew, and after
            with pytest.raises(StorageError):
                outbox.put(HELP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    outbox.put(HELP)
    other.put(HELP)
    assert presses(outbox) == presses(other) == ["press-1"] * 2
    assert outbox.epoch == other.epoch
    assert "put aside" in capsys.readouterr().err  # kept in memory: a log in a file would hit the limit too


def test_the_log_of_a_file_that_is_gone_is_not_taken_for_the_new_ones(path: Path) -> None:
    """The power went between two renames: nothing of the old epoch comes back."""
    [process] = writers(path, 100_000, "a")
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    process.communicate()
    assert path.with_name("state.db-wal").stat().st_size > 0
    path.unlink()
    outbox = outbox_at(path)
    assert presses(outbox) == []
    outbox.put(HELP)
    assert seqs(outbox) == [1]


def test_an_answer_for_a_number_of_another_epoch_deletes_nothing(path: Path) -> None:
    """What flew when the database broke has the same numbers as what is put after it."""
    outbox = outbox_at(path)
    outbox.put(*[HELP] * 2000)
    outbox.put(KINDS["presence"])
    flying, mark = waiting(outbox)[:3], Mark().past(waiting(outbox)[1999]).past(waiting(outbox)[2000])
    outbox.close()
    tear(path)
    again = outbox_at(path)
    again.put(*[HELP] * 3)
    again.delete(flying)
    again.expire(flying)
    assert len(presses(again)) == 3
    assert [one.tail for one in again.take(mark, 3)] == ["event/help"] * 3
    again.put(KINDS["presence"])
    for one in again.take(mark, 3):
        mark = mark.past(one)
    assert [one.tail for one in again.take(mark, 3)] == ["event/presence", "event/tombstone"]


def test_two_corrupt_files_are_kept(path: Path) -> None:
    kept = []
    for number in range(4):
        outbox_at(path).close()
        path.write_bytes(b"torn %d " % number * 500)
        outbox = outbox_at(path)
        outbox.put(HELP)
        outbox.close()
        kept = sorted(part.read_bytes()[:6] for part in path.parent.glob("state.db.corrupt-*") if part.suffix[-3:].isdecimal())
    assert kept == [b"torn 2", b"torn 3"]


def test_a_new_database_is_rebuilt_once(path: Path) -> None:
    """Item 8: what the clip folders hold is said again in the new epoch, in one transaction, also if the first attempt failed."""
    outbox = outbox_at(path)
    assert outbox.needs_rebuild()
    outbox.rebuild([])
    assert not outbox.needs_rebuild()
    outbox.close()
    assert not outbox_at(path).needs_rebuild()
    path.write_bytes(b"torn " * 5000)
    again = outbox_at(path)
    assert again.needs_rebuild()
    notes = [ClipNote(f"0{number}", "recorded", "help", "", 1) for number in range(500)]
    again._file._database.execute(f"PRAGMA max_page_count = {again._file._database.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StorageError):
        again.rebuild(notes)
    assert again.needs_rebuild()
    again._file._database.execute("PRAGMA max_page_count = 100000")
    for _ in range(2):
        again.rebuild(notes)
    assert [one.tail for one in waiting(again) if one.rank is Rank.EVENT] == [f"clip/0{number}" for number in range(500)]
    assert not again.needs_rebuild()
