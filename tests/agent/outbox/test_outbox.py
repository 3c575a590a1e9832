"""The outbox: said is stored, numbers are never reused and all accounted for; what is urgent goes first and is dropped last."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Health, Tombstone, decode
from agent.outbox.outbox import Mark, Waiting
from agent.outbox.topic_rank import rank_of
from agent.ranks import DROPS, Rank
from tests.support.broker import PATIENCE
from tests.support.outboxes import (
    DAY,
    HEALTH,
    HELP,
    KINDS,
    PRESENCE,
    FakeClock,
    outbox_at,
    presses,
    seqs,
    tombstones,
    waiting,
    writers,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox" / "state.db"


def test_a_message_keeps_its_envelope_and_topic(path: Path) -> None:
    """The contract of the envelope: ids, epoch, seq, time and clock state stand in what is stored."""
    outbox = outbox_at(path)
    first, second = outbox.put(HELP, KINDS["alarm"], expiry_s=600)
    help_, alarm = outbox.take(Mark(), 10)
    assert (help_.tail, help_.retain, help_.expiry_s) == ("event/help", False, 600)
    assert (alarm.tail, alarm.retain) == ("alarm/help", True)
    message = decode(help_.payload)
    assert message.body == HELP
    assert (message.envelope.id, message.envelope.epoch, message.envelope.seq) == (first, outbox.epoch, help_.seq)
    assert (message.envelope.t, message.envelope.mono_ms, message.envelope.clock) == (DAY, 5_000, "synced")
    assert not message.envelope.hist
    assert decode(alarm.payload).envelope.id == second
    assert alarm.seq == help_.seq + 1


def test_take_goes_on_after_a_mark_and_stops_at_its_limit(path: Path) -> None:
    outbox = outbox_at(path)
    outbox.put(*[HELP] * 5)
    mark, taken = Mark(), []
    for limit in (2, 2, 9):
        found = outbox.take(mark, limit)
        assert len(found) <= limit
        taken += [one.seq for one in found]
        for one in found:
            mark = mark.past(one)
    assert taken == [1, 2, 3, 4, 5]
    assert outbox.take(mark, 9) == []


def test_what_is_urgent_is_taken_first_and_no_topic_is_overtaken(path: Path) -> None:
    """Promise 5: a press made now does not wait behind weeks of health; within one topic the order of saying stays."""
    outbox = outbox_at(path)
    mark = Mark()
    outbox.put(HEALTH, PRESENCE, KINDS["clip"], KINDS["state"], HEALTH, PRESENCE)
    assert [one.tail for one in outbox.take(mark, 2)] == ["state", "clip/01a"]
    for one in outbox.take(mark, 2):
        mark = mark.past(one)
    outbox.put(HELP, KINDS["alarm"])
    outbox.clear("alarm/help")
    tails = [(one.tail, one.seq) for one in outbox.take(mark, 99)]
    assert tails == [
        ("event/help", 7), ("alarm/help", 8), ("alarm/help", 9),
        ("event/presence", 2), ("event/presence", 6), ("health/system", 1), ("health/system", 5),
    ]  # fmt: skip


def test_clear_is_an_empty_retained_message(path: Path) -> None:
    """It cannot carry its number, so a tombstone does."""
    outbox = outbox_at(path)
    outbox.clear("alarm/help")
    [cleared] = waiting(outbox)
    assert (cleared.tail, cleared.retain, cleared.payload) == ("alarm/help", True, b"")
    assert tombstones(outbox) == []
    outbox.delete([cleared])
    assert tombstones(outbox) == [Tombstone(outbox.epoch, "cleared", ((1, 1),))]


def test_numbers_are_never_used_again(path: Path) -> None:
    """Promise 3: an emptied and reopened outbox goes on counting, in the same epoch."""
    outbox = outbox_at(path)
    outbox.put(HELP, HELP)
    used, epoch = seqs(outbox), outbox.epoch
    outbox.delete(waiting(outbox))
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
    assert [process.wait(PATIENCE * 60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.communicate()
    outbox = outbox_at(path)
    assert seqs(outbox) == list(range(1, 301))
    kept = presses(outbox)
    for name in ("camera", "io", "uplink"):
        assert [press for press in kept if press.startswith(f"{name}-")] == [f"{name}-{number}" for number in range(100)]
    assert {decode(one.payload).envelope.epoch for one in waiting(outbox)} == {outbox.epoch}


# -- bounds ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    steps=st.lists(st.lists(st.sampled_from([*KINDS, "delete"]), min_size=1, max_size=6), max_size=25),
    most=st.integers(1, 12),
    most_bytes=st.integers(500, 5_000),
)
def test_the_bounds_drop_in_the_declared_order_and_count(steps: list[list[str]], most: int, most_bytes: int) -> None:
    """Promise 3: no row goes while one before it in the order is left, none without need, help and alarms never."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = outbox_at(Path(folder) / "state.db", most, most_bytes)
        dropped = 0
        for step in steps:
            if "delete" in step:
                outbox.delete(waiting(outbox)[:2])
            kinds = [kind for kind in step if kind != "delete"]
            if not kinds:
                continue
            before = waiting(outbox)
            outbox.put(*[KINDS[kind] for kind in kinds])
            after = waiting(outbox)
            gone = [one for one in before if one not in after]
            count = len(before) + len(kinds) - len(after)
            dropped += count
            _judge(gone, after, most, most_bytes)
            if gone and count == len(gone):  # the last one, none of those just put, had to go
                last = max(gone, key=_place)
                assert len(after) + 1 > most or _size(after) + _size([last]) > most_bytes
            assert outbox.pending() == len(after)
        assert outbox.dropped() == dropped == outbox.drops()["bound"]
        assert sum(one.bytes for one in outbox.classes()) == _size(waiting(outbox))
        outbox.close()


def _size(rows: list[Waiting]) -> int:
    return sum(len(one.tail) + len(one.payload) for one in rows)


def _place(one: Waiting) -> tuple[int, int]:
    """In the order of dropping."""
    return DROPS.index(one.rank), one.seq


def _judge(gone: list[Waiting], after: list[Waiting], most: int, most_bytes: int) -> None:
    order = [_place(one) for one in after if one.rank in DROPS]
    assert (len(after) <= most and _size(after) <= most_bytes) or not order
    for one in gone:
        assert _place(one) < min(order, default=(9, 0))


def test_old_health_is_thinned_to_hours_and_told(path: Path) -> None:
    """Three weeks offline leave the last day by the minute and the rest by the hour; no batch is torn, all is accounted for."""
    clock = FakeClock()
    outbox = outbox_at(path, clock=clock)
    batch = [Health("system", {"load": 1.0}, {}), Health("storage", {"free_mb": 1}, {})]
    for _ in range(21 * 24 * 6):  # a batch every ten minutes
        outbox.put(*batch)
        clock.time += timedelta(minutes=10)
    rows = waiting(outbox)
    assert len(rows) in range(2 * (24 * 6 + 20 * 24), 2 * (25 * 6 + 20 * 24) + 1)
    puts = sorted({one.put_ms for one in rows})
    assert [sum(one.put_ms == put for one in rows) for put in puts] == [2] * len(puts)
    pauses = {after - before for before, after in pairwise(puts)}
    assert pauses == {600_000, 3_600_000}
    told = [number for one in tombstones(outbox) for first, last in one.ranges for number in range(first, last + 1)]
    assert {one.cause for one in tombstones(outbox)} == {"thinned"}
    assert sorted(told + [one.seq for one in rows]) == list(range(1, 2 * 21 * 24 * 6 + 1))
    assert outbox.drops()["thinned"] == len(told)


def test_topics_have_one_rank_each() -> None:
    """The order of sending, by topic, and of dropping; what nobody ranked is an event."""
    ranks = {tail: rank_of(tail).name for tail in ("event/help", "alarm/lens", "state", "rsp/order-7", "journal", "clip/1",
             "event/tamper", "event/new", "new", "event/presence", "health/link", "event/tombstone")}  # fmt: skip
    assert list(ranks.values()) == ["URGENT"] * 2 + ["STATE"] * 3 + ["EVENT"] * 4 + ["PRESENCE", "HEALTH", "TOMBSTONE"]
    assert [rank.name for rank in DROPS] == ["HEALTH", "PRESENCE", "EVENT", "STATE"]


# -- every number is accounted for -------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5),
    st.sampled_from(["will", "clear", "take", "heard", "some heard", "expire", "restart", "tell", "hours"]),
)


class Line:
    """A publisher and a consumer: what flies, what was heard, what tombstones said."""

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.most, self.clock = path, most, FakeClock()
        self.outbox = outbox_at(path, most, clock=self.clock)
        self.mark, self.flying = Mark(), list[Waiting]()
        self.heard: dict[int, str] = {}
        self.dead: dict[int, str] = {}
        self.on_their_way: set[int] = set()
        self.wills: set[int] = set()

    def do(self, step: str | list[str]) -> None:
        if isinstance(step, list):
            self.outbox.put(*[KINDS[kind] for kind in step])
        elif step == "will":
            self.wills.add(decode(self.outbox.will(KINDS["state"])).envelope.seq)
        elif step == "clear":
            self.outbox.clear("alarm/help")
        elif step == "take":
            self._take(3)
        elif step in ("heard", "some heard"):
            self._hear(self.flying if step == "heard" else self.flying[1::2])
        elif step == "expire":
            # Tombstones are put without an expiry.
            self.outbox.expire([one for one in self.outbox.take(self.mark, 2) if one.rank is not Rank.TOMBSTONE])
        elif step == "restart":
            self.outbox.close()
            self.outbox, self.mark, self.flying = outbox_at(self.path, self.most, clock=self.clock), Mark(), []
        elif step == "tell":
            self.outbox.tell_gone()
        else:
            self.clock.time += timedelta(hours=7)
        waits = set(seqs(self.outbox))
        self.on_their_way |= {one.seq for one in self.flying if one.seq not in waits}

    def _take(self, limit: int) -> bool:
        taken = self.outbox.take(self.mark, limit)
        for one in taken:
            self.mark = self.mark.past(one)
        self.flying += taken
        return bool(taken)

    def _hear(self, some: list[Waiting]) -> None:
        for one in some:
            message = decode(one.payload) if one.payload else None
            if message:
                assert self.heard.setdefault(one.seq, message.envelope.id) == message.envelope.id
            if message and isinstance(message.body, Tombstone):
                for first, last in message.body.ranges:
                    self.dead |= dict.fromkeys(range(first, last + 1), message.body.cause)
        self.flying = [one for one in self.flying if one not in some]
        self.outbox.delete(some)

    def drain(self) -> None:
        """A link that stays: also what a tombstone itself pushed out is told."""
        self.do("restart")
        while True:
            self.outbox.tell_gone()
            if not self._take(100):
                break
            self._hear(self.flying)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=40), most=st.integers(1, 10))
def test_every_number_is_heard_or_told_and_never_both_without_cause(steps: list[str | list[str]], most: int) -> None:
    """Promise 3: whatever is put, dropped, acknowledged, expired and restarted, a consumer knows of every number its end.

    The last tombstones are told in full: the numbers of the run are 1 to the last one given, none missing, none invented.
    """
    with tempfile.TemporaryDirectory() as folder:
        line = Line(Path(folder) / "state.db", most)
        for step in steps:
            line.do(step)
        line.drain()
        assert line.outbox.pending() == 0
        given_ = next(iter(line.outbox.will(HELP).split(b'"seq":')[1:])).split(b",")[0]
        assert set(line.heard) | set(line.dead) == set(range(1, int(given_)))
        assert set(line.heard) & set(line.dead) <= line.on_their_way
        assert {seq for seq, cause in line.dead.items() if cause == "will"} == line.wills
        line.outbox.close()


def test_tombstones_are_durable_with_the_drop_and_coalesced(path: Path) -> None:
    """Dropped one by one, told as one range, also by another process after a restart; told once."""
    outbox = outbox_at(path, most=2)
    for _ in range(50):
        outbox.put(HEALTH)
    outbox.close()
    again = outbox_at(path)
    assert tombstones(again) == [Tombstone(again.epoch, "bound", ((1, 48),))]
    again.delete(waiting(again))
    assert tombstones(again) == []


def test_many_ranges_make_several_tombstones(path: Path) -> None:
    """Offline for weeks with presence between: no message grows without bound."""
    outbox = outbox_at(path, most=1300)
    outbox.put(*[HEALTH, HELP] * 1300)
    told = tombstones(outbox)
    assert sum(len(one.ranges) for one in told) == 1300
    assert max(len(one.ranges) for one in told) == 500


def test_expired_means_nothing_to_the_outbox(path: Path) -> None:
    """Only who publishes drops what expired, so that it is counted and told."""
    clock = FakeClock()
    outbox = outbox_at(path, clock=clock)
    outbox.put(HELP, expiry_s=1)
    clock.time += timedelta(hours=1)
    assert outbox.pending() == 1
    outbox.expire(waiting(outbox))
    assert outbox.drops() == {"bound": 0, "thinned": 0, "expired": 1, "corrupt": 0, "set_aside": 0}
    assert tombstones(outbox) == [Tombstone(outbox.epoch, "expired", ((1, 1),))]
