"""`lykta-central collect` as a process, with a real mosquitto: what is published is stored, whatever stops in between."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from agent.messages import PREFIX, Alarm, Describe, State
from central.fleet.collect.store.database import open_database
from tests.support.broker import Broker, free_port, until
from tests.support.clips import TOOL
from tests.support.collecting import Collector, Talker, collecting, connected, publish, rows, stored
from tests.support.postgres import postgres

READY = State("ready", "filming", datetime.now(UTC), None, "nobody", {})
DESCRIBE = Describe("Raspberry Pi 5", "", ("help button",), "lykta 1", {}, {})


@pytest.fixture
def collector(tmp_path: Path, broker: Broker, url: str) -> Collector:
    return Collector(tmp_path, broker, url)


def test_what_nodes_say_is_stored_once_and_accounted_for(broker: Broker, collector: Collector) -> None:
    """7 of the issue, and promise 3: one real broker, one database of each kind."""
    nodes = [Talker(f"city/stop-{number}") for number in range(3)]
    with connected(broker) as opened:
        for node in nodes:
            publish(opened, node.say(READY), node.say(DESCRIBE))
        with collecting(collector):
            for node in nodes:
                publish(
                    opened,
                    *[node.presence() for _ in range(20)],
                    node.say(Alarm("disk", "full", "")),
                    node.health("buffer", pending=1),
                )
            engine = open_database(collector.url)
            for node in nodes:
                until(lambda node=node: stored(engine, node) == node.sent, "each number of the node is stored")  # type: ignore[misc]
            until(
                lambda: rows(engine, "SELECT count(*) FROM epochs WHERE NOT open AND settled = 24") == [(3,)], "the account is made"
            )
            assert rows(engine, "SELECT * FROM gaps") == []
            assert rows(engine, "SELECT node, state FROM nodes ORDER BY node") == [(node.name, "ready") for node in nodes]
            until(
                lambda: collector.number('lykta_alarm{name="disk",node="city/stop-1",severity="warning"}') == 1,
                "the figure shows it",
            )
            publish(opened, *[node.clear("disk") for node in nodes])
            until(lambda: rows(engine, "SELECT count(*) FROM alarms WHERE ended IS NULL") == [(0,)], "the alarms are over")
            assert collector.number('lykta_collect_messages_total{kind="presence"}') == 60
            until(lambda: collector.number("lykta_collect_confirmed_total") >= 75, "all are confirmed to the broker")


def test_bad_input_is_counted_and_ends_nothing(broker: Broker, tmp_path: Path) -> None:
    """What bad input gets: the broker, and a node's certificate in wrong hands, send what they want."""
    node, collector = Talker(), Collector(tmp_path, broker)
    where, good = node.presence()
    bad: list[tuple[str, bytes]] = [
        (where, b"{"),
        (where, b"\xff"),
        (where, b"[" * 60_000),
        (where, good.replace(b'"seq":1', b'"seq":-1')),
        (f"{PREFIX}/city/Stop/event/presence", good),
        (f"{PREFIX}/city/stop-1/event/help", good),
        (f"{PREFIX}/city/stop-1/state", b""),
        (f"{PREFIX}/city/stop-1/event/presence", b""),
    ]
    with connected(broker) as opened, collecting(collector):
        for one in bad * 3:
            publish(opened, one)
        publish(opened, (where, good))
        engine = open_database(collector.url)
        until(lambda: stored(engine, node) == [1], "the good message is stored")
        causes = {
            name: collector.number(f'lykta_collect_refused_total{{cause="{name}"}}')
            for name in ("not_a_message", "number", "topic")
        }
        assert causes == {"not_a_message": 9, "number": 3, "topic": 3}
        until(
            lambda: collector.number("lykta_collect_confirmed_total") == 25,
            "also what was refused is confirmed, or it came for ever",
        )
    assert 0 < len([line for line in collector.lines() if "refused (" in line]) <= 11


def test_two_contents_with_one_number_raise_an_alarm(broker: Broker, tmp_path: Path) -> None:
    """A copied card, or a second node with the same certificate."""
    node, twin, collector = Talker(epoch="e" * 32), Talker(epoch="e" * 32), Collector(tmp_path, broker)
    with connected(broker) as opened, collecting(collector):
        publish(opened, node.presence("few"), twin.presence("crowd"))
        engine = open_database(collector.url)
        until(lambda: rows(engine, "SELECT name, origin FROM alarms") == [("two_identities", "collector")], "the alarm stands")
        assert collector.number("lykta_collect_conflicts_total") == 1


def test_what_came_while_the_collector_was_away_is_stored(broker: Broker, collector: Collector) -> None:
    """Also after a kill, and after a restart of the broker: states that were replaced meanwhile, too."""
    node = Talker()
    engine = open_database(collector.url)
    with collecting(collector), connected(broker) as opened:
        publish(opened, node.presence())
        until(lambda: stored(engine, node) == [1], "the first is stored")
        collector.kill()
        publish(
            opened,
            *[node.say(State(state, "", None, None, "nobody", {})) for state in ("degraded", "ready", "off")],
            node.presence(),
        )
    broker.stop()
    broker.start()
    with collecting(collector):
        until(lambda: stored(engine, node) == [1, 2, 3, 4, 5], "all are stored")
        assert rows(engine, "SELECT state FROM nodes") == [("off",)]


def test_an_alarm_that_ended_while_nobody_listened_is_over(broker: Broker, tmp_path: Path) -> None:
    """A broker that lost its store has no session and no retained alarm: what it does not send does not stand."""
    gone, stands, collector = Talker("city/stop-1"), Talker("city/stop-2"), Collector(tmp_path, broker)
    engine, again = open_database(collector.url), stands.say(Alarm("disk", "full", ""))
    with collecting(collector), connected(broker) as opened:
        publish(opened, gone.say(Alarm("disk", "full", "")), again)
        until(lambda: rows(engine, "SELECT count(*) FROM alarms") == [(2,)], "both are known")
    broker.stop()
    (broker.folder / "mosquitto.db").unlink()
    broker.start()
    with connected(broker) as opened:
        publish(opened, again)
        with collecting(collector):
            sql = "SELECT node, ending FROM alarms WHERE ended IS NOT NULL"
            until(lambda: rows(engine, sql) == [("city/stop-1", "not_retained")], "the alarm is over")
            assert rows(engine, "SELECT node FROM alarms WHERE ended IS NULL") == [("city/stop-2",)]


def test_a_lost_database_loses_nothing(broker: Broker, tmp_path: Path) -> None:
    """PostgreSQL is killed and started again; meanwhile nothing is confirmed, and the log and a figure say so."""
    node = Talker()
    with postgres() as server, connected(broker) as opened:
        collector = Collector(tmp_path, broker, server.url)
        engine = create_engine(server.url, pool_pre_ping=True)
        with collecting(collector):
            publish(opened, *[node.presence() for _ in range(50)])
            until(lambda: len(stored(engine, node)) == 50, "the first are stored")
            server.kill()
            publish(opened, *[node.presence() for _ in range(50)])
            until(lambda: collector.number("lykta_collect_database_up") == 0, "the figure says it")
            assert collector.number("lykta_collect_confirmed_total") == 50
            server.start()
            until(lambda: len(stored(engine, node)) == 100, "the others are stored too")
            until(lambda: collector.number("lykta_collect_database_up") == 1, "the figure says that it is back")
        engine.dispose()
        said = [line for line in collector.lines() if "database:" in line]
        assert any("wait, and the broker with them" in line for line in said)
        assert any("database: works again" in line for line in said)
        assert stored(engine, node) == node.sent
        engine.dispose()


def test_what_comes_between_the_brokers_restart_and_the_collectors_return_is_kept(broker: Broker, tmp_path: Path) -> None:
    """mosquitto 2.0.11 restores a session's plain subscriptions at its start, but no shared one."""
    node, collector = Talker(), Collector(tmp_path, broker)
    engine = open_database(collector.url)
    with collecting(collector):
        with connected(broker) as opened:
            publish(opened, node.presence())
            until(lambda: len(stored(engine, node)) == 1, "it works")
        collector.kill()
        broker.stop()
        broker.start()
        with connected(broker) as opened:
            publish(opened, node.presence(), node.health(load_1m=1.0))
        collector.start()
        until(lambda: stored(engine, node) == node.sent, "all are stored")
    engine.dispose()


def test_a_disk_that_refuses_writes_is_waited_for(broker: Broker, tmp_path: Path) -> None:
    """The limit of a file's size stands for a full disk: SQLite's log cannot grow."""
    node, collector = Talker(), Collector(tmp_path, broker)
    engine = open_database(collector.url)
    with collecting(collector), connected(broker) as opened:
        publish(opened, node.presence())
        until(lambda: len(stored(engine, node)) == 1, "it works")
        assert collector.process
        limit = ["prlimit", "--pid", str(collector.process.pid)]
        subprocess.run([*limit, "--fsize=150000:"], check=True)
        publish(opened, *[node.say(Describe("m" * 40_000, "", (), "", {}, {})) for _ in range(10)])
        until(lambda: collector.number("lykta_collect_database_failures_total") > 0, "it was tried in vain", 60)
        confirmed = collector.number("lykta_collect_confirmed_total")
        assert confirmed < 11
        subprocess.run([*limit, "--fsize=unlimited:"], check=True)
        until(lambda: len(stored(engine, node)) == 11, "all are stored")
        until(lambda: collector.number("lykta_collect_confirmed_total") == 11, "and confirmed")


def test_a_backlog_is_worked_off_in_one_connection(broker: Broker, tmp_path: Path) -> None:
    """mosquitto sends more than the collector asked for while it has a queue; that must not end one connection after the other."""
    node, collector = Talker(), Collector(tmp_path, broker)
    engine = open_database(collector.url)
    with collecting(collector):
        until(lambda: rows(engine, "SELECT replica FROM replicas"), "it is there")
    with connected(broker) as opened:
        publish(opened, *[node.health() for _ in range(6000)])
    with collecting(collector):
        until(lambda: len(stored(engine, node)) == 6000, "all are stored")
    assert not [line for line in collector.lines() if "receive_maximum" in line or "caught_up" in line]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--database", "mysql://x/y"], "--database"),
        (["--database", "sqlite://"], "--database"),
        (["--database", "nonsense"], "--database"),
        (["--replica", "A b"], "--replica"),
        (["--share", "a/b"], "--share"),
        (["--webhook", "file:///etc/passwd"], "--webhook"),
        (["--webhook", "http://x", "--alertmanager", "http://y"], "--webhook"),
        (["--metrics", "9464"], "address"),
    ],
)
def test_wrong_options_are_refused_with_a_hint(broker: Broker, options: list[str], said: str) -> None:
    words = [TOOL, "collect", broker.centre.folder, "--broker", "127.0.0.1:1", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hint: ")


def test_a_database_that_is_not_there_ends_the_start(broker: Broker) -> None:
    words = [TOOL, "collect", broker.centre.folder, "--broker", "127.0.0.1:1"]
    words += ["--database", f"postgresql+psycopg://lykta:secret@127.0.0.1:{free_port()}/lykta"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 4
    assert "error: database postgresql+psycopg://lykta:***@127.0.0.1" in done.stderr
    assert "secret" not in done.stderr
