"""kill -9 at any moment, replicas, and a broker whose queue runs over: nothing is lost without being named.

`make test-collect-full` kills more often (LYKTA_COLLECT_KILLS).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from agent.messages import Alarm, State
from central.fleet.collect.accounting import GRACE_MS
from central.fleet.collect.store.database import open_database
from central.fleet.collect.store.settling import AWAY_MS, reopen, settle
from tests.support.broker import Broker, Centre, until
from tests.support.collecting import Collector, Talker, collecting, connected, publish, rows, stored

KILLS = int(os.environ.get("LYKTA_COLLECT_KILLS", "3"))
SEED = int(os.environ.get("LYKTA_COLLECT_SEED", "17"))
GROUP = ("--share", "all")
READY = State("ready", "", None, None, "nobody", {})
SESSION_MS = 7 * 24 * 3_600_000


@contextmanager
def talking(broker: Broker, nodes: list[Talker]) -> Iterator[None]:
    """Nodes that send without a pause: presence, health, and states, which are retained."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def talk() -> None:
        try:
            with connected(broker) as opened:
                while not stop.is_set():
                    for node in nodes:
                        publish(opened, node.presence(), node.health("link"), node.say(READY))
                    time.sleep(0.02)
        except BaseException as problem:  # noqa: BLE001 - raised again below
            failed.append(problem)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failed == []


def whole(engine: Engine, nodes: list[Talker]) -> None:
    """Every number that the broker took is stored."""
    for node in nodes:
        until(lambda node=node: stored(engine, node) == node.sent, f"{len(node.sent)} of {node.name} are stored", 60)  # type: ignore[misc]


def account(engine: Engine, now: int) -> list[tuple[object, ...]]:
    """The gaps, noticed now and judged at a time of the test's choice."""
    for at in (time.time_ns() // 1_000_000, now):
        with engine.begin() as connection:
            reopen(connection)
            settle(connection, at, SESSION_MS)
    return rows(engine, "SELECT node, first, last, cause FROM gaps WHERE cause <> 'before' ORDER BY node, first")


@pytest.mark.slow
def test_kill_at_random_moments_loses_nothing(broker: Broker, tmp_path: Path, url: str) -> None:
    """One collector, started again each time."""
    nodes, chance = [Talker(f"city/stop-{number}") for number in range(5)], random.Random(SEED)
    collector, engine = Collector(tmp_path, broker, url), open_database(url)
    collector.start()
    with talking(broker, nodes):
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, 0.7))
            collector.kill()
            collector.start()
    whole(engine, nodes)
    assert account(engine, time.time_ns() // 1_000_000) == []
    assert collector.end() == 0
    assert rows(engine, "SELECT count(*) FROM conflicts") == [(0,)]
    engine.dispose()


@pytest.mark.slow
def test_kill_of_one_of_two_replicas_loses_nothing(broker: Broker, tmp_path: Path, postgres_url: str) -> None:
    """They share events and health; the one that is killed comes back and gets what was meant for it."""
    nodes, chance = [Talker(f"city/stop-{number}") for number in range(5)], random.Random(SEED)
    both, engine = [Collector(tmp_path, broker, postgres_url, name, GROUP) for name in ("one", "two")], open_database(postgres_url)
    for collector in both:
        collector.start()
    with talking(broker, nodes):
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, 0.7))
            victim = chance.choice(both)
            victim.kill()
            time.sleep(chance.uniform(0.0, 0.5))
            victim.start()
    whole(engine, nodes)
    assert account(engine, time.time_ns() // 1_000_000) == []
    shares = [collector.number('lykta_collect_messages_total{kind="presence"}') for collector in both]
    assert [collector.end() for collector in both] == [0, 0]
    assert all(shares), shares
    engine.dispose()


def test_a_replica_that_never_returns_leaves_a_named_gap(broker: Broker, tmp_path: Path, postgres_url: str) -> None:
    """What the broker holds for it is missing, and the account says so: the replica is away, later that they are missing."""
    node = Talker()
    both, engine = [Collector(tmp_path, broker, postgres_url, name, GROUP) for name in ("one", "two")], open_database(postgres_url)
    with connected(broker) as opened, collecting(both[0]):
        both[1].start()
        publish(opened, *[node.health() for _ in range(4)])
        whole(engine, [node])
        until(lambda: len(rows(engine, "SELECT replica FROM replicas")) == 2, "both were seen")
        both[1].kill()
        publish(opened, *[node.health() for _ in range(20)], node.say(READY))
        until(lambda: 25 in stored(engine, node), "the last one came")
        here = until(lambda: found if len(found := stored(engine, node)) >= 15 else None, "half of them came")
        lost = sorted(set(node.sent) - set(here))
        publish(opened, node.health(), node.health())
        until(lambda: len({26, 27} & set(stored(engine, node))) > 0, "a later one came to the replica that is there")
        now = time.time_ns() // 1_000_000
        gaps = account(engine, now + AWAY_MS + GRACE_MS)
        named = {seq: cause for _, first, last, cause in gaps for seq in range(int(str(first)), int(str(last)) + 1)}
        assert lost
        assert {named.get(seq) for seq in lost} == {"replica_away"}
        gaps = account(engine, now + SESSION_MS + AWAY_MS)
        assert {gap[3] for gap in gaps} == {"missing"}
        both[1].start()
        whole(engine, [node])
        until(lambda: account(engine, now + AWAY_MS) == [], "it came back, and the gap is closed")
        assert both[1].end() == 0
    engine.dispose()


def test_a_queue_that_runs_over_at_the_broker_leaves_a_named_gap(tmp_path: Path) -> None:
    """The broker keeps 50 messages for a collector that is away, and drops the others without a word."""
    broker = Broker(tmp_path / "broker", Centre(tmp_path / "centre"))
    config = broker.folder / "broker.conf"
    config.write_text(config.read_text().replace("max_queued_messages 100000", "max_queued_messages 50"))
    assert "max_queued_messages 50\n" in config.read_text()
    broker.start()
    node, collector = Talker(), Collector(tmp_path, broker)
    engine = open_database(collector.url)
    try:
        with connected(broker) as opened:
            with collecting(collector):
                publish(opened, *[node.health() for _ in range(10)])
                whole(engine, [node])
            publish(opened, *[node.health() for _ in range(200)])
            with collecting(collector):
                until(lambda: len(stored(engine, node)) >= 60, "what the broker kept came")
                publish(opened, node.health())
                until(lambda: 211 in stored(engine, node), "and what came after")
        missing = sorted(set(node.sent) - set(stored(engine, node)))
        assert missing
        gaps = account(engine, time.time_ns() // 1_000_000 + GRACE_MS)
        named = [seq for _, first, last, cause in gaps if cause == "missing" for seq in range(int(str(first)), int(str(last)) + 1)]
        assert named == missing
    finally:
        broker.stop()


def test_an_alarm_is_known_once_to_two_replicas(broker: Broker, tmp_path: Path, postgres_url: str) -> None:
    """Both hear it and its end; one row each time."""
    node = Talker()
    both, engine = [Collector(tmp_path, broker, postgres_url, name, GROUP) for name in ("one", "two")], open_database(postgres_url)
    with connected(broker) as opened, collecting(both[0]), collecting(both[1]):
        for _ in range(10):
            publish(opened, node.say(Alarm("disk", "full", "")), node.clear("disk"))
        publish(opened, node.say(Alarm("disk", "full", "")))
        whole(engine, [node])
        until(lambda: all(one.number("lykta_collect_confirmed_total") >= 21 for one in both), "both heard all")
        assert rows(engine, "SELECT count(*), count(ended) FROM alarms") == [(11, 10)]
    engine.dispose()
