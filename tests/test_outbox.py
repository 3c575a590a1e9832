"""The outbox: said is stored, numbers are never reused, the bound drops only what may be dropped, and counts it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Alarm, Body, ClipNote, Health, Help, Presence, State, decode
from agent.outbox import Outbox
from drivers.clock import SystemClock
from privacy.errors import StorageError
from tests.broker import NODE, SITE

DAY = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HELP = Help("press-1", "pressed")
HEALTH = Health("system", {"cpu": 0.5}, {})
PRESENCE = Presence("few", DAY)
KINDS: dict[str, Body] = {
    "help": HELP,
    "health": HEALTH,
    "presence": PRESENCE,
    "alarm": Alarm("help", "pressed", "press-1"),
    "clip": ClipNote("01a", "recorded", "help", "", 100),
    "state": State("ready", "connected", DAY, None, "nobody", {}),
}
WRITER = """
import sys
from pathlib import Path
from agent.messages import Help
from agent.outbox import Outbox
from drivers.clock import SystemClock
outbox = Outbox(Path(sys.argv[1]), "city", "stop-1", SystemClock("host"))
for number in range(int(sys.argv[3])):
    outbox.put(Help(f"{sys.argv[2]}-{number}", "pressed"))
    print(number, flush=True)
"""


class FakeClock(SystemClock):
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        super().__init__("host")
        self.time = DAY

    def now(self) -> datetime:
        return self.time

    def mono_ms(self) -> int:
        return 5_000


def outbox_at(path: Path, most: int = 50_000) -> Outbox:
    return Outbox(path, SITE, NODE, FakeClock(), most)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox" / "state.db"


def presses(outbox: Outbox) -> list[str]:
    bodies = [decode(waiting.payload).body for waiting in outbox.take(0, 1_000_000)]
    return [body.press for body in bodies if isinstance(body, Help)]


def seqs(outbox: Outbox) -> list[int]:
    return [waiting.seq for waiting in outbox.take(0, 1_000_000)]


def writers(path: Path, count: int, *names: str) -> list[subprocess.Popen[str]]:
    """Processes that each put `count` presses."""
    return [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name, str(count)], stdout=subprocess.PIPE, text=True)
        for name in names
    ]


def test_a_message_keeps_its_envelope_and_topic(path: Path) -> None:
    """The contract of the envelope: ids, epoch, seq, time and clock state stand in what is stored."""
    outbox = outbox_at(path)
    first, second = outbox.put(HELP, KINDS["alarm"], expiry_s=600)
    help_, alarm = outbox.take(0, 10)
    assert (help_.tail, help_.retain, help_.expiry_s) == ("event/help", False, 600)
    assert (alarm.tail, alarm.retain) == ("alarm/help", True)
    message = decode(help_.payload)
    assert message.body == HELP
    assert (message.envelope.id, message.envelope.epoch, message.envelope.seq) == (first, outbox.epoch, help_.seq)
    assert (message.envelope.t, message.envelope.mono_ms, message.envelope.clock) == (DAY, 5_000, "synced")
    assert not message.envelope.hist
    assert decode(alarm.payload).envelope.id == second
    assert alarm.seq == help_.seq + 1


def test_take_goes_on_after_a_number_and_stops_at_its_limit(path: Path) -> None:
    outbox = outbox_at(path)
    outbox.put(*[HELP] * 5)
    first = [waiting.seq for waiting in outbox.take(0, 2)]
    assert first == seqs(outbox)[:2]
    assert [waiting.seq for waiting in outbox.take(first[-1], 2)] == seqs(outbox)[2:4]


def test_clear_is_an_empty_retained_message(path: Path) -> None:
    outbox = outbox_at(path)
    outbox.clear("alarm/help")
    [waiting] = outbox.take(0, 10)
    assert (waiting.tail, waiting.retain, waiting.payload) == ("alarm/help", True, b"")


def test_numbers_are_never_used_again(path: Path) -> None:
    """Promise 3: an emptied and reopened outbox goes on counting, in the same epoch."""
    outbox = outbox_at(path)
    outbox.put(HELP, HELP)
    used, epoch = seqs(outbox), outbox.epoch
    outbox.delete(used)
    outbox.close()
    again = outbox_at(path)
    again.put(HELP)
    assert again.epoch == epoch
    assert seqs(again) == [max(used) + 1]


def test_what_was_put_survives_a_kill(path: Path) -> None:
    """Promise 3: every press that the killed process was told is stored can be taken by another one."""
    [process] = writers(path, 100_000, "a")
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(20)]
    process.kill()
    told += [int(line) for line in process.communicate()[0].splitlines() if line]
    kept = presses(outbox_at(path))
    assert kept[: len(told)] == [f"a-{number}" for number in told]


def test_three_processes_write_one_sequence(path: Path) -> None:
    """All three start on a database that does not exist yet; nothing is lost, doubled or out of order."""
    processes = writers(path, 100, "camera", "io", "uplink")
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.communicate()
    outbox = outbox_at(path)
    assert seqs(outbox) == list(range(1, 301))
    kept = presses(outbox)
    for name in ("camera", "io", "uplink"):
        assert [press for press in kept if press.startswith(f"{name}-")] == [f"{name}-{number}" for number in range(100)]
    assert {decode(waiting.payload).envelope.epoch for waiting in outbox.take(0, 1000)} == {outbox.epoch}


def test_another_connections_write_shows_in_the_version(path: Path) -> None:
    outbox, other = outbox_at(path), outbox_at(path)
    before = outbox.version()
    other.put(HELP)
    assert outbox.version() != before


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.lists(st.sampled_from([*KINDS, "delete"]), min_size=1, max_size=6), max_size=25), most=st.integers(1, 12))
def test_the_bound_drops_health_then_presence_and_counts(steps: list[list[str]], most: int) -> None:
    """Promise 3: the bound is kept while anything droppable is left; help, alarm, clip and state always stay."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = outbox_at(Path(folder) / "state.db", most)
        model: list[tuple[int, str]] = []
        count = dropped = 0
        for step in steps:
            if "delete" in step:
                outbox.delete([seq for seq, _ in model[:2]])
                del model[:2]
            kinds = [kind for kind in step if kind != "delete"]
            if not kinds:
                continue
            outbox.put(*[KINDS[kind] for kind in kinds])
            model += [(count + place + 1, kind) for place, kind in enumerate(kinds)]
            count += len(kinds)
            gone = _to_drop(model, most)
            model = [row for row in model if row not in gone]
            dropped += len(gone)
        assert seqs(outbox) == [seq for seq, _ in model]
        assert outbox.pending() == len(model)
        assert outbox.dropped() == dropped
        outbox.close()


def _to_drop(model: list[tuple[int, str]], most: int) -> list[tuple[int, str]]:
    least = [row for kind in ("health", "presence") for row in model if row[1] == kind]
    return least[: max(0, len(model) - most)]


def test_a_full_disk_is_a_storage_error_and_loses_nothing(path: Path) -> None:
    """Promise 3: what was stored before stays, what was refused is said to be refused, and later there is room again."""
    outbox = outbox_at(path)
    outbox.put(HELP)
    limit = int(outbox._database.execute("PRAGMA page_count").fetchone()[0])  # the port of SQLite for a disk without room
    outbox._database.execute(f"PRAGMA max_page_count = {limit}")
    with pytest.raises(StorageError, match="full") as refused:
        outbox.put(*[HELP] * 500)
    assert refused.value.hint
    assert presses(outbox) == ["press-1"]
    outbox._database.execute("PRAGMA max_page_count = 100000")
    outbox.put(*[HELP] * 500)
    assert seqs(outbox) == list(range(1, 502))


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StorageError, match=r"state\.db") as refused:
        outbox_at(tmp_path / "state.db")
    assert refused.value.hint


def test_a_database_that_is_none_is_put_aside_and_a_new_epoch_begins(path: Path) -> None:
    outbox = outbox_at(path)
    outbox.put(HELP)
    epoch = outbox.epoch
    outbox.close()
    path.write_bytes(b"torn by a dying card " * 500)
    again = outbox_at(path)
    again.put(HELP)
    assert again.epoch != epoch
    assert again.pending() == 1
    [aside] = path.parent.glob("state.db.corrupt-*")
    assert aside.read_bytes().startswith(b"torn by")


def test_a_database_torn_inside_is_put_aside_too(path: Path) -> None:
    """A whole header over broken pages must not stop the node for ever."""
    outbox = outbox_at(path)
    outbox.put(*[HELP] * 2000)
    outbox.close()
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    again = outbox_at(path)
    again.put(HELP)
    assert presses(again) == ["press-1"]
    assert list(path.parent.glob("state.db.corrupt-*"))


def test_expired_means_nothing_to_the_outbox(path: Path) -> None:
    """Only who publishes drops what expired, so that it can count it."""
    outbox = outbox_at(path)
    outbox.put(HELP, expiry_s=1)
    clock = outbox._clock
    assert isinstance(clock, FakeClock)
    clock.time += timedelta(hours=1)
    assert outbox.pending() == 1


def test_wal_and_full_synchronisation_are_on(path: Path) -> None:
    """Promise 3: without both, an acknowledged message would not survive a power cut."""
    outbox = outbox_at(path)
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert outbox._database.execute("PRAGMA synchronous").fetchone() == (2,)
