"""Alarms are handed on: to a real Alertmanager, or to a webhook, of several collectors by one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from agent.messages import Alarm, Help
from central.fleet.alarm_catalogue import CATALOGUE
from central.fleet.collect.store import telling
from central.fleet.collect.store.database import open_database
from central.fleet.collect.store.standing import NODE, end_alarm, raise_alarm
from tests.support.broker import Broker, free_port, until
from tests.support.collecting import Collector, Talker, collecting, connected, publish, rows
from tests.support.prometheus import alertmanager, get

MINUTE = 60_000


class Webhook:
    """A small server that writes down what it is told. status: of its answers."""

    def __init__(self) -> None:
        self.status, self.port = 204, free_port()
        self.told: list[dict[str, Any]] = []

    @contextmanager
    def serving(self) -> Iterator[str]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if hook.status < 300:
                    hook.told.append(said)
                self.send_response(hook.status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{self.port}/hook"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def names(self) -> list[tuple[str, bool]]:
        """Alarm, and whether it was told as ended."""
        return [(one["alarm"], one["ended"] is not None) for one in self.told]


def test_alertmanager_gets_what_stands_and_what_ended(broker: Broker, tmp_path: Path) -> None:
    """7: routing, repetition, silence and mail are its job; it is told once more when it was away."""
    node = Talker()
    with connected(broker) as opened, alertmanager(tmp_path) as url:
        collector = Collector(tmp_path, broker, more=["--alertmanager", url])
        with collecting(collector):
            publish(
                opened,
                node.say(Help("p1", "pressed")),
                node.say(Alarm("help", "pressed", "p1")),
                node.say(Alarm("disk", "full", "")),
            )
            found = until(lambda: alerts(url) if len(alerts(url)) == 2 else None, "Alertmanager has both")
            call = found["help"]
            assert call["labels"] == {"alertname": "help", "site": "city", "node": "stop-1", "severity": "call", "origin": "node"}
            assert call["annotations"]["summary"] == CATALOGUE["help"].text.en
            assert call["annotations"]["todo_sv"] == CATALOGUE["help"].todo.sv
            publish(opened, node.clear("help"))
            until(lambda: alerts(url).keys() == {"disk"}, "the call is over there")


def alerts(url: str) -> dict[str, Any]:
    return {one["labels"]["alertname"]: one for one in get(f"{url}/api/v2/alerts")}


@pytest.mark.parametrize("status", [500, 302])
def test_a_webhook_is_told_once_and_again_after_a_failure(broker: Broker, tmp_path: Path, status: int) -> None:
    """A redirect is a failure too: it would lead the alarms somewhere else."""
    node, hook = Talker(), Webhook()
    hook.status = status
    with connected(broker) as opened, hook.serving() as url:
        collector = Collector(tmp_path, broker, more=["--webhook", url])
        with collecting(collector):
            publish(opened, node.say(Alarm("disk", "full", "")))
            until(lambda: collector.number('lykta_collect_alarms_told_total{result="failed"}') > 0, "it failed")
            hook.status = 204
            until(lambda: hook.told, "it was told")
            publish(opened, node.say(Alarm("case", "open", "")), node.clear("disk"))
            until(lambda: ("case", False) in hook.names() and ("disk", True) in hook.names(), "the end is told")
            assert sorted(hook.names()) == [("case", False), ("disk", False), ("disk", True)]
        assert any("alarms: cannot be handed to" in line for line in collector.lines())


def test_of_two_collectors_one_tells_the_webhook(broker: Broker, tmp_path: Path, postgres_url: str) -> None:
    node, hook = Talker(), Webhook()
    with connected(broker) as opened, hook.serving() as url:
        both = [Collector(tmp_path, broker, postgres_url, name, ["--webhook", url]) for name in ("one", "two")]
        with collecting(both[0]), collecting(both[1]):
            publish(opened, *[node.say(Alarm(f"disk-{number}", "full", "")) for number in range(20)])
            until(lambda: len(hook.told) >= 20, "all are told")
            engine = open_database(postgres_url)
            until(lambda: rows(engine, "SELECT count(*) FROM alarms WHERE told_at IS NULL") == [(0,)], "and noted as told")
            engine.dispose()
        assert len({one["alarm"] for one in hook.told}) == len(hook.told) == 20


def claimed(engine: Engine, now: int) -> list[tuple[str, bool, bool]]:
    """Alarm, whether ended, whether told before; all are told."""
    with engine.begin() as connection:
        found = telling.claim(connection, now, MINUTE)
        for one in found:
            telling.told(connection, one, now)
    return [(one.name, one.ended is not None, one.again) for one in found]


def test_a_call_for_help_is_told_each_minute_until_it_is_taken(engine: Engine) -> None:
    """5 and 7: other alarms once; their end once."""
    with engine.begin() as connection:
        for name, ref in (("help", "p"), ("disk", "")):
            raise_alarm(connection, "city/stop-1", name, "", ref, 1000, NODE)
    assert claimed(engine, 2000) == [("help", False, False), ("disk", False, False)]
    assert claimed(engine, 2000 + MINUTE - 1) == []
    assert claimed(engine, 2000 + MINUTE) == [("help", False, True)]
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alarms SET answered = 3000 WHERE name = 'help'")
    assert claimed(engine, 2000 + 3 * MINUTE) == []
    with engine.begin() as connection:
        end_alarm(connection, "city/stop-1", "help", 2000 + 4 * MINUTE, "cleared", NODE)
    assert claimed(engine, 2000 + 5 * MINUTE) == [("help", True, True)]
    assert claimed(engine, 2000 + 9 * MINUTE) == []


def test_a_call_that_ended_before_it_was_told_is_told_all_the_same(engine: Engine) -> None:
    """And another alarm that came and went is not."""
    with engine.begin() as connection:
        for name in ("help", "disk"):
            raise_alarm(connection, "city/stop-1", name, "", "", 1000, NODE)
            end_alarm(connection, "city/stop-1", name, 2000, "cleared", NODE)
    assert claimed(engine, 3000) == [("help", True, False)]


def test_what_one_replica_has_in_hand_another_takes_after_half_a_minute(engine: Engine) -> None:
    with engine.begin() as connection:
        raise_alarm(connection, "city/stop-1", "disk", "", "", 1000, NODE)
    with engine.begin() as connection:
        assert len(telling.claim(connection, 2000, MINUTE)) == 1
    assert claimed(engine, 20_000) == []
    assert claimed(engine, 40_000) == [("disk", False, False)]


def test_each_alarm_of_the_catalogue_says_what_to_do_in_both_languages() -> None:
    for entry in CATALOGUE.values():
        for words in (entry.text, entry.todo):
            assert words.en
            assert words.sv
            assert words.en != words.sv
        assert bool(entry.bring.en) == bool(entry.bring.sv)
