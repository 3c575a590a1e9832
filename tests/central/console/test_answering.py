"""A press at a real node is on the page, and the button there reaches the node: node, mosquitto, collector, console, desk."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from central.fleet.collect.store.database import open_database
from central.keys.access_log import check_deed
from central.keys.key_folder import authority
from tests.support import access_log
from tests.support.broker import NAME, PATIENCE, Broker, until, whole_lines
from tests.support.clips import TOOL
from tests.support.collecting import Collector, collecting, rows
from tests.support.consoles import Console, serving
from tests.support.nodes import Node


@contextmanager
def desk(folder: Path, broker: Broker, url: str) -> Iterator[Path]:
    """`lykta-central answer` as a process; its log."""
    log = folder / "answer.log"
    words = [TOOL, "answer", broker.centre.folder, "--broker", f"127.0.0.1:{broker.operators}", "--database", url]
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)
    until(lambda: "answers as officer-1" in log.read_text(), "the desk is there")
    yield log
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE * 20) == 0, log.read_text()


def test_a_press_is_on_the_page_and_the_button_answers_it(whole: Node, broker: Broker, tmp_path: Path) -> None:
    """8 of the issue. The access log has the answer, signed by the officer, and the lamp of the stop lights steadily."""
    collector = Collector(tmp_path, broker)
    console = Console(tmp_path, collector.url, "--proxy-from", "127.0.0.1", "--user-header", "X-User")
    with collecting(collector), serving(console), desk(tmp_path, broker, collector.url) as log:
        until(lambda: NAME in console.page("/"), "the node is on the page")
        assert "Nobody has called for help" in console.page("/")
        with console.stream("overview") as events:
            events.until_has("Nobody has called for help")
            whole.press()
            events.until_has("HELP – somebody waits")
            engine = open_database(collector.url)
            [(press,)] = rows(engine, "SELECT ref FROM alarms WHERE name = 'help' AND ended IS NULL")
            assert f'name="press" value="{press}"' in console.page("/", X_User="eva-ek")
            assert console.answer(NAME, press, X_User="eva-ek").status == 303
            events.until_has("Answered")
        until(lambda: whole.status("io")["detail"]["parts"]["help_lamp"] == "steady", "the lamp says that help was heard")
        until(lambda: rows(engine, "SELECT state, officer FROM drafts") == [("done", "eva-ek")], "the draft is settled")
        until(lambda: f"{NAME} call {press}: done" in whole_lines(log), "the desk says so")
        assert console.answer(NAME, press, X_User="eva-ek").status == 409
    entries = [entry for entry in access_log.log(broker.centre.folder).entries if entry.kind == "answer"]
    assert [(one.facts["press"], one.facts["drafted"], one.facts["officer"]) for one in entries] == [(press, "eva-ek", "officer-1")]
    assert check_deed(entries[0], authority(broker.centre.folder))


def test_the_desk_signs_no_answer_to_a_call_that_does_not_stand(whole: Node, broker: Broker, tmp_path: Path) -> None:
    """Somebody wrote drafts into the database: of a press that the node does not know, and of a node that never was."""
    collector = Collector(tmp_path, broker)
    with collecting(collector), desk(tmp_path, broker, collector.url):
        engine = open_database(collector.url)
        until(lambda: rows(engine, "SELECT node FROM nodes") == [(NAME,)], "the node is known")
        with engine.begin() as connection:
            for node, press in ((NAME, "ab" * 16), ("city/other", "cd" * 16), ("../etc", "x"), (NAME, "no; press")):
                connection.exec_driver_sql(
                    f"INSERT INTO drafts (node, press, officer, state, changed) VALUES ('{node}', '{press}', 'eva', 'draft', 1)"
                )
        until(lambda: rows(engine, "SELECT count(*) FROM drafts WHERE state = 'refused'") == [(4,)], "all are refused")
        assert rows(engine, f"SELECT reason FROM drafts WHERE press = '{'ab' * 16}'") == [("not_standing",)]
    assert "answer" not in {entry.kind for entry in access_log.log(broker.centre.folder).entries}
