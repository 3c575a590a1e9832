"""Who may write the shared outbox (camera, uplink, failure hook) stops no help button by it (14.B7).

io and uplink are real processes, the broker is mosquitto; the attacks do what the group's rights allow to the folder and the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agent.messages import Help, Tombstone
from agent.outbox.outbox import Outbox
from privacy.errors import LyktaError, StorageError
from tests.support.asking import ask
from tests.support.broker import PATIENCE, Broker, Published, until
from tests.support.outboxes import HELP, outbox_at, presses, seqs, tombstones, waiting
from tests.support.stop import LYKTA, Stop

PINS = '\n[pins]\nfactory = "mock"\nhelp_button = 17\nhelp_lamp = 27\n'
GREATEST_INTEGER = 2**63 - 1


class HelpPoint:
    """A bus stop whose io runs beside its uplink."""

    def __init__(self, stop: Stop) -> None:
        self.stop, self.file = stop, stop.layout.outbox
        with stop.layout.config.open("a") as file:
            file.write(PINS)
        stop.outbox().put(HELP)
        self.io: subprocess.Popen[bytes] | None = None

    def start_io(self) -> None:
        with (self.stop.root / "io.log").open("ab") as log:
            known = os.environ | {"LYKTA_ROOT": str(self.stop.root)}
            self.io = subprocess.Popen([str(LYKTA), "io"], stderr=log, stdout=log, env=known)
        until(lambda: self.asked({"verb": "status"}).get("standing", {}).get("state") == "ready", "io listens")

    def asked(self, request: dict[str, object], name: str = "ctl") -> dict[str, dict[str, str]]:
        try:
            return ask(self.stop.layout.socket("io", name), request)
        except LyktaError:
            return {}

    def press(self) -> None:
        ask(self.stop.layout.socket("io", "ctl"), {"verb": "press"})

    def lamp(self) -> str:
        return self.asked({"verb": "status"}).get("detail", {}).get("lamp", "")

    def close(self) -> None:
        if self.io:
            self.io.kill()
            self.io.wait(PATIENCE * 10)


@pytest.fixture
def point(stop: Stop) -> Iterator[HelpPoint]:
    point = HelpPoint(stop)
    yield point
    point.close()


# -- what the group's rights allow -------------------------------------------------------------------------------------


@contextmanager
def folder_held(file: Path) -> Iterator[None]:
    folder = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(folder)


@contextmanager
def database_held(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


def statements(*texts: str) -> Callable[[Path], object]:
    def attack(file: Path) -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            for text in texts:
                database.execute(text)

    return attack


def in_its_place(put: Callable[[Path], object]) -> Callable[[Path], object]:
    def attack(file: Path) -> None:
        for ending in ("", "-wal", "-shm"):
            file.with_name(file.name + ending).unlink(missing_ok=True)
        put(file)

    return attack


def many_files(file: Path) -> None:
    """With a torn outbox beside them, whose log, which would mend it, is gone: one more is to be put aside among them."""
    for number in range(50_000):
        (file.parent / f"state.db.corrupt-{number}").touch()
    file.write_bytes(b"torn " * 1000)


def fifos_everywhere(file: Path) -> None:
    for name in ("state.db", "state.db-wal", "state.db-shm", f"state.db.corrupt-{GREATEST_INTEGER}"):
        (file.parent / name).unlink(missing_ok=True)
        os.mkfifo(file.parent / name)


def huge(file: Path) -> None:
    with file.open("wb") as out:
        out.truncate(1 << 40)


VIEW = "CREATE VIEW messages AS WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT a AS rank, a AS seq FROM n"
ROW = "INSERT INTO messages VALUES (0, {seq}, {tail}, 0, 0, NULL, {payload})"
CHANGES: dict[str, Callable[[Path], object]] = {
    "number": statements(f"UPDATE meta SET value = {GREATEST_INTEGER} WHERE name = 'seq'"),
    "number of text": statements("UPDATE meta SET value = 'many' WHERE name = 'seq'"),
    "no numbers": statements("DELETE FROM meta"),
    "trigger": statements("CREATE TRIGGER no BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END"),
    "view": statements("DROP TABLE messages", VIEW),
    "constraint": statements("DROP TABLE gone", "CREATE TABLE gone (first INTEGER PRIMARY KEY, last, cause, CHECK (0))"),
    "no table": statements("DROP TABLE messages"),
    "no message": statements(ROW.format(seq=1 << 40, tail="'event/help'", payload="x'00'")),
    "a message of bytes": statements(ROW.format(seq=0, tail="'event/help'", payload="x'ff'")),
    "a topic for all": statements(ROW.format(seq=0, tail="'#'", payload="x'7b7d'")),
    "no UTF-8": statements(ROW.format(seq=0, tail="CAST(x'ff' AS TEXT)", payload="x'7b7d'")),
    "many files": in_its_place(many_files),
    "link": in_its_place(lambda file: file.symlink_to(file.parents[4] / "etc/lykta/lykta.toml")),
    "FIFOs": fifos_everywhere,
    "folder": in_its_place(lambda file: file.mkdir()),
    "huge": in_its_place(huge),
    "huge log": in_its_place(lambda file: (file.write_bytes(b""), huge(file.with_name("state.db-wal")))),
    "torn": in_its_place(lambda file: file.write_bytes(b"torn " * 1000)),
}
LOCKS = {"folder held": folder_held, "database held": database_held}


@contextmanager
def changed(attack: Callable[[Path], object], file: Path) -> Iterator[None]:
    attack(file)
    yield


ATTACKS = LOCKS | {name: (lambda file, attack=attack: changed(attack, file)) for name, attack in CHANGES.items()}


def helps(point: HelpPoint, broker: Broker) -> None:
    """Lamp, event and alarm, under the attack."""
    with broker.ear(f"{point.stop.here}/#") as heard:
        point.press()
        until(lambda: point.lamp() == "blinking", "the lamp blinks")
        until(lambda: [one for one in heard() if one.topic.endswith("alarm/help")], "the alarm is heard", 30)
        presses_ = [message.body for message in point.stop.messages(heard(), "event/help")]
    assert [one for one in presses_ if isinstance(one, Help) and one.action == "pressed" and one.press != HELP.press]
    assert point.io is not None
    assert point.io.poll() is None


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_help_goes_on_while_it_is_done(point: HelpPoint, broker: Broker, attack: str) -> None:
    """Both services run when it happens."""
    point.start_io()
    point.stop.start()
    until(lambda: point.stop.detail("connected"), "there is a link")
    with ATTACKS[attack](point.file):
        helps(point, broker)


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_help_begins_where_it_was_done(point: HelpPoint, broker: Broker, attack: str) -> None:
    """It lies there when they start."""
    with ATTACKS[attack](point.file):
        point.start_io()
        point.stop.start()
        helps(point, broker)
    assert broker.folder
    assert (point.stop.layout.config).read_text().endswith(PINS)


@pytest.mark.parametrize("attack", sorted(CHANGES.keys() - {"folder"}))
@pytest.mark.parametrize("open_before", [True, False])
def test_the_shared_outbox_goes_on_with_a_new_epoch_or_without_what_is_odd(tmp_path: Path, attack: str, open_before: bool) -> None:
    """What is no outbox is put aside in bounded time, whether or not somebody had it open; numbers begin at 1 in a new epoch."""
    file = tmp_path / "var/lib/lykta/outbox/state.db"
    outbox = outbox_at(file)
    outbox.put(HELP)
    epoch = outbox.epoch
    if not open_before:
        outbox.close()
    CHANGES[attack](file)
    again = outbox if open_before else outbox_at(file)
    again.put(Help("after", "pressed"))
    assert any(b'"press":"after"' in one.payload for one in waiting(again))
    assert all(1 <= seq < 2**53 for seq in seqs(again))
    if again.epoch != epoch:
        assert [one.cause for one in tombstones(again)] == ["corrupt"]
        assert seqs(again)[0] == 1
    assert not (tmp_path / "etc/lykta/lykta.toml").exists()


def test_locks_are_waited_for_in_bounded_time_and_the_next_use_at_once(tmp_path: Path) -> None:
    """A folder that is held for ever is an error each time, never a wait for ever; when it is free, all is well."""
    file = tmp_path / "state.db"
    outbox = outbox_at(file)
    with folder_held(file):
        for _ in range(3):
            with pytest.raises(StorageError, match="is locked"):
                outbox.put(HELP)
    until(lambda: put(outbox), "it goes on")
    assert presses(outbox) == ["press-1"]


def put(outbox: Outbox) -> bool:
    try:
        outbox.put(HELP)
    except StorageError:
        return False
    return True


# -- io's own --------------------------------------------------------------------------------------------------------------


def test_nobody_but_io_may_open_its_outbox(point: HelpPoint) -> None:
    """The file is io's alone whatever the umask: who cannot open it can lock nothing in it."""
    point.start_io()
    own = point.stop.layout.io_outbox
    until(own.exists, "io made its outbox")
    assert {oct(part.stat().st_mode & 0o777) for part in own.parent.glob("outbox.db*")} == {"0o600"}


JUNK: dict[str, object] = {
    "nothing": None,
    "a word": "take",
    "no tag": {},
    "unknown": {"type": "drop_all"},
    "deep": json.loads("[" * 900 + "]" * 900),
    "a number without end": {"type": "take", "epoch": "", "taken": [GREATEST_INTEGER] * 6, "limit": 20},
    "all at once": {"type": "take", "epoch": "", "taken": [0] * 6, "limit": 10**9},
    "marks without end": {"type": "take", "epoch": "", "taken": [0] * 5000, "limit": 20},
    "keys without end": {"type": "let_go", "epoch": "", "keys": [[0, 1]] * 3000, "end": "heard"},
    "another end": {"type": "let_go", "epoch": "", "keys": [[0, 1]], "end": "forgotten"},
    "another rank": {"type": "let_go", "epoch": "", "keys": [[9, 1]], "end": "heard"},
    "a foreign epoch": {"type": "let_go", "epoch": "f" * 32, "keys": [[0, 1], [0, 2]], "end": "heard"},
}


def test_an_uplink_that_was_taken_over_stops_no_press(point: HelpPoint, broker: Broker) -> None:
    """Whatever it asks of io, and lines that it does not end: refused or without effect, and the next press is heard."""
    point.start_io()
    path = point.stop.layout.socket("io", "uplink")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
        slow.connect(str(path))
        slow.sendall(b'{"verb": "out')
        for junk in JUNK.values():
            point.asked({"verb": "outbox", "ask": junk}, "uplink")
        point.press()
        until(lambda: point.lamp() == "blinking", "the lamp blinks")
    point.stop.start()
    with broker.ear(f"{point.stop.here}/alarm/help") as heard:
        until(heard, "the alarm is heard", 30)
    until(lambda: point.stop.detail("pending") == 0, "nothing waits")


def numbers_of(point: HelpPoint, heard: list[Published]) -> dict[str, set[int]]:
    """By epoch: what was heard, and what tombstones told."""
    tails = {one.topic.removeprefix(f"{point.stop.here}/") for one in heard if one.payload}
    numbers: dict[str, set[int]] = {}
    for message in [message for tail in tails for message in point.stop.messages(heard, tail)]:
        numbers.setdefault(message.envelope.epoch, set()).add(message.envelope.seq)
        if isinstance(message.body, Tombstone):
            told = numbers.setdefault(message.body.epoch, set())
            told |= {number for first, last in message.body.ranges for number in range(first, last + 1)}
    return numbers


def test_each_outbox_numbers_for_itself_and_no_number_is_missing(point: HelpPoint, broker: Broker) -> None:
    """Two epochs; in each every number is heard or told by a tombstone of that epoch, the will's, too."""
    with broker.ear(f"{point.stop.here}/#") as heard:
        point.start_io()
        point.stop.start()
        point.press()

        def whole() -> bool:
            found = numbers_of(point, heard())
            return len(found) == 2 and all(numbers == set(range(1, max(numbers) + 1)) for numbers in found.values())

        until(lambda: point.stop.messages(heard(), "event/tombstone"), "the will's number is told", 30)
        until(whole, "every number of both is accounted for", 30)


def test_a_press_that_nobody_carried_is_sent_after_both_were_killed(point: HelpPoint, broker: Broker) -> None:
    """At least once, over the death of io and uplink: what io wrote leaves its disk only when the broker has it."""
    own = point.stop.layout.io_outbox
    point.start_io()
    point.press()
    until(lambda: point.lamp() == "blinking", "the lamp blinks")
    # The lamp waits for no disk.
    until(lambda: own.exists() and presses(outbox_at(own)), "io wrote it")
    point.close()
    with broker.ear(f"{point.stop.here}/event/help") as heard:
        point.stop.start()
        until(lambda: point.stop.detail("connected"), "there is a link")
        point.start_io()
        until(lambda: [one for one in point.stop.messages(heard(), "event/help") if one.body != HELP], "it is heard", 30)
    until(lambda: point.stop.detail("pending") == 0, "nothing waits")
    assert own.exists()
