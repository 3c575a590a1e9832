"""The command as people call it, and its document."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from agent.messages import Alarm, Health, Reported
from central.fleet.visits.causes import CAUSES
from central.fleet.visits.texts import ITEMS, REASONS, sentence
from tests.support.clips import TOOL
from tests.support.collecting import ready
from tests.support.nodes import PROJECT
from tests.support.postgres import postgres
from tests.support.visiting import HOUR, LOST, NOW, Stop, describe, found, state, well


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOL, "visits", *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture
def database(engine: Engine) -> str:
    """Three stops that need somebody at the present time, among others."""
    now = time.time_ns() // 1_000_000
    stops = [Stop(f"city/stop-{one}", "=North", end=now).usual() for one in range(3)]
    stops[0].say(state("blind", "basis_expired", now - HOUR, "lawyer"), now - HOUR)
    stops[1].say(state("blind", "no_camera", now - HOUR, "technician"), now - HOUR)
    stops[2].say(Alarm("help_button", "jammed", ""), now - HOUR)
    others = [Stop(f"city/stop-{one}", "South", end=now).usual() for one in range(10, 15)]
    found(engine, [*stops, *others], now=now)
    return str(engine.url)


def test_it_lists_the_most_urgent_first_and_says_why_and_what_to_bring(database: str) -> None:
    shown = call("--database", database)
    assert shown.returncode == 0, shown.stderr
    heads = [line for line in shown.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split()[:2] for line in heads] == [
        ["city/stop-2", "help_button_jammed:"],
        ["city/stop-1", "camera:"],
        ["city/stop-0", "basis:"],
    ]
    assert "    - state: no_camera" in shown.stdout
    assert "    + camera, camera cable, ladder" in shown.stdout


def test_json_in_swedish_and_only_one_area(database: str) -> None:
    shown = call("--database", database, "--json", "--lang", "sv", "--area", "=North")
    told = json.loads(shown.stdout)
    assert told["schema"] == "lykta-central.visits/1"
    assert [(one["cause"], one["who"], one["visit"]) for one in told["visits"]][1:] == [
        ("camera", "technician", True),
        ("basis", "lawyer", False),
    ]
    assert told["visits"][0]["text"] == "hjälpknappen har fastnat"
    assert told["visits"][0]["reasons"] == ["larm: help_button"]
    assert json.loads(call("--database", database, "--json", "--area", "South").stdout)["visits"] == []


def test_csv_for_a_spreadsheet_holds_no_formula(database: str) -> None:
    table = list(csv.DictReader(io.StringIO(call("--database", database, "--csv").stdout)))
    assert [(one["node"], one["area"], one["visit"]) for one in table] == [
        ("city/stop-2", "'=North", "true"),
        ("city/stop-1", "'=North", "true"),
        ("city/stop-0", "'=North", "false"),
    ]


def test_a_database_that_is_not_there_is_refused(tmp_path: Path) -> None:
    shown = call("--database", f"sqlite:///{tmp_path}/none.db")
    assert shown.returncode == 2
    assert "error: visits: --database: no such file" in shown.stderr
    assert not (tmp_path / "none.db").exists()


def test_the_document_has_each_cause() -> None:
    """docs/VISITS.md is the catalogue, in its order."""
    table = re.findall(r"^\| `(\w+)` \| (.*) \|$", (PROJECT / "docs/VISITS.md").read_text(), re.MULTILINE)
    wanted = [(one.id, " | ".join((one.text.en, one.todo.en, one.who, _brought(one.bring)))) for one in CAUSES.values()]
    assert table == wanted


def _brought(items: tuple[str, ...]) -> str:
    return ", ".join(ITEMS[one].en for one in items) or "nothing: no visit helps"


def test_every_text_is_there_in_both_languages() -> None:
    """And whatever a cause brings has a word; a reason that is unknown, or has no value, is shown as it is."""
    for words in (*ITEMS.values(), *REASONS.values(), *(one.text for one in CAUSES.values())):
        assert words.en
        assert words.sv
        assert words.en.count("{}") == words.sv.count("{}")
    assert {item for one in CAUSES.values() for item in one.bring} <= ITEMS.keys()
    assert sentence("states 3 camera_lost", "en") == "3 times in a day: camera_lost"
    assert sentence("also door_open", "sv") == "dessutom: skåpets dörr är öppen"
    assert sentence("of_tomorrow 1", "en") == "of_tomorrow 1"


def test_every_reason_in_the_rules_has_a_text(engine: Engine) -> None:
    """Said by a fleet with several faults."""
    stops = [Stop(f"city/stop-{one}").usual() for one in range(3)]
    stops[0].told(undervoltage_times=9, temperature_c=88.0, io_contact_failures=9)
    stops[1].told(life_used=1.0, used_share=0.99)
    stops[2].say(state("blind", "odd_reason", NOW - HOUR), NOW - HOUR)
    said = {reason for one in found(engine, [*stops, *well(9, "South")]) for reason in one.reasons}
    assert said
    assert {reason.split()[0] for reason in said} <= REASONS.keys()


def test_both_databases_give_the_same_answer(engine: Engine) -> None:
    """With each kind of statement that they write differently: fields of JSON, bytes in bytes, sums of times; a node that
    sends what only one of them can store changes nothing."""
    stops = [Stop(f"city/stop-{one}").usual() for one in range(4)]
    stops[0].told(undervoltage_times=9, temperature_c=88.0)
    stops[1].say(Reported("config", "1", "ab", "refused", "version"), NOW - HOUR)
    stops[2].say(state("blind", "odd_reason", NOW - HOUR), NOW - HOUR)
    stops[3].say(describe("\0"), NOW - HOUR)
    stops[2].say(Health("agent", {f"n{one}": one for one in range(6000)}, {}), NOW)
    gone = Stop("city/stop-9", end=NOW - HOUR).usual()
    fleet = [*stops, gone.say(LOST, NOW - HOUR + 60_000), *well(9, "South")]
    with postgres() as server:
        other = ready(server.url)
        answers = [found(one, fleet) for one in (engine, other)]
        other.dispose()
    assert answers[0] == answers[1]
    assert [one.cause for one in answers[0]] == ["power_supply", "unknown", "unknown", "configuration"]
