"""Figures for a real Prometheus, rules and dashboard that are checked against them, and the list in docs/COLLECTOR.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from agent.messages import Alarm, State
from central.fleet.collect.metrics import Metrics
from tests.support.broker import Broker, until
from tests.support.collecting import Collector, Talker, collecting, connected, publish
from tests.support.nodes import PROJECT
from tests.support.prometheus import prometheus, promtool

DOCS = PROJECT / "docs"
RULES, DASHBOARD = DOCS / "collector/alerts.yml", DOCS / "collector/dashboard.json"


def queries() -> list[str]:
    """Of the dashboard, with the panel's title for the reader of a failure."""
    return [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]


def names() -> dict[str, str]:
    """Each figure as /metrics has it, and what it is."""
    found: dict[str, str] = {}
    for one in Metrics().registry.collect():
        found[one.name + ("_total" if one.type == "counter" else "")] = one.documentation
    return found


def test_a_real_prometheus_reads_the_figures_and_runs_the_queries(broker: Broker, tmp_path: Path) -> None:
    """Each query of the dashboard has an answer once there is something to count; the rules are loaded, one of them fires."""
    node, collector = Talker(), Collector(tmp_path, broker)
    with (
        connected(broker) as opened,
        collecting(collector),
        prometheus(tmp_path, [f"127.0.0.1:{collector.metrics}"], RULES) as server,
    ):
        publish(opened, node.say(State("ready", "", None, None, "nobody", {})), node.say(Alarm("disk", "full", "")))
        opened.publish("lykta/v1/city/stop-1/event/presence", b"{", retain=False)
        until(lambda: collector.number('lykta_collect_refused_total{cause="not_a_message"}') == 1, "it was refused")
        node.next()
        publish(opened, *[node.presence() for _ in range(20)])
        until(lambda: server.query('lykta_collect_messages_total{kind="presence"} == 20'), "Prometheus has the figure")
        publish(opened, *[node.presence() for _ in range(20)])
        for query in queries():
            until(lambda query=query: server.query(query), f"the query has an answer: {query}")  # type: ignore[misc]
        checked = promtool("check", "metrics", given=collector.figures())
        assert (checked.returncode, checked.stderr) == (0, "")
        for rule in re.findall(r"expr: (.+)", RULES.read_text()):
            server.query(rule)
        opened.publish("lykta/v1/city/stop-1/event/presence", b"{", retain=False)
        fires = 'ALERTS{alertname="LyktaMessagesRefused",cause="not_a_message",alertstate="firing"}'
        until(lambda: server.query(fires), "the rule fires")


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("text", [RULES.read_text(), DASHBOARD.read_text()], ids=["rules", "dashboard"])
def test_rules_and_dashboard_name_figures_that_exist(text: str) -> None:
    known = {f"{name}{end}" for name in names() for end in ("", "_bucket", "_sum", "_count")}
    found = set(re.findall(r"\blykta_[a-z_]+", text))
    assert found
    assert found - known == set()


def test_the_list_in_the_documentation_is_complete() -> None:
    """docs/COLLECTOR.md has a line for each figure, and no other."""
    text = (DOCS / "COLLECTOR.md").read_text()
    listed = dict(re.findall(r"^\| `(lykta_[a-z_]+)` \| (.+?) \|$", text, re.MULTILINE))
    assert listed == names()


def test_the_dashboard_has_the_form_that_grafana_imports() -> None:
    """The types of Grafana's own package keep every value; panels do not overlap, each query has its letter and source."""
    board = json.loads(DASHBOARD.read_text())
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    assert list(lost(board, kept)) == []
    assert list(lost({**board, "nonsense": 1}, kept)) == ["/nonsense"]
    cells: dict[tuple[int, int], int] = {}
    for panel in board["panels"]:
        at: dict[str, Any] = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert cells.setdefault(cell, panel["id"]) == panel["id"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where a value is not in what was made of it."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept[key], f"{path}/{key}") if key in kept else [f"{path}/{key}"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, value in enumerate(given):
            yield from lost(value, kept[number], f"{path}/{number}")
    elif given != kept:
        yield path
