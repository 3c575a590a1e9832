"""Faults from a file: what they do to the messages stands in the collector's database, and a verdict counts by kind."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from central.fleet.collect.store.database import open_database
from tests.bench.fleet.faults import load, strike
from tests.bench.fleet.judge import Truth, fill, judge
from tests.support.collecting import rows

EXAMPLE = Path(__file__).parent / "fleet/faults/bus-stops.toml"
SMALL = """
v = 1
nodes = 6
hours = 6
health_minutes = 30
area_nodes = 3

[[fault]]
name = "no power in the street"
expected = "power_cut"
nodes = 3
together = true
at_hours = 3
effects = [{ kind = "link", kept = false }]

[[fault]]
name = "hot, later without a link"
expected = "unknown"
nodes = 1
at_hours = 1
effects = [
    { kind = "drift", group = "system", value = "temperature_c", to = 90.0 },
    { kind = "alarm", name = "tamper", reason = "covered", for_hours = 1 },
    { kind = "link", kept = true, after_hours = 2, for_hours = 1 },
]

[[fault]]
name = "two of one name"
expected = "cloned_card"
nodes = 1
at_hours = 4
effects = [{ kind = "twin" }]
"""


def test_faults_show_in_what_the_collector_stores_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text(SMALL)
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    truths = fill(url, tmp_path / "faults.toml", seed=3)
    engine = open_database(url)

    def of(expected: str) -> list[str]:
        return sorted(name for name, truth in truths.items() if truth.expected == expected)

    lost = [name for (name,) in rows(engine, "SELECT node FROM alarms WHERE name = 'lost' AND ended IS NULL ORDER BY node")]
    assert lost == of("power_cut")
    assert len({area for (area,) in rows(engine, "SELECT substr(node, 11) / 3 FROM nodes WHERE lost IS NOT NULL")}) == 1
    assert [name for (name,) in rows(engine, "SELECT DISTINCT node FROM conflicts")] == of("cloned_card")
    [hot] = of("unknown")
    assert rows(engine, "SELECT node, ended IS NULL FROM alarms WHERE name = 'tamper'") == [(hot, 0)]
    late = rows(engine, "SELECT node, count(*) FROM messages WHERE late GROUP BY node")
    assert [name for name, _ in late] == [hot]
    assert late[0][1] >= 9
    open_gaps = rows(engine, "SELECT DISTINCT node FROM gaps WHERE cause IN ('missing', 'waiting', 'replica_away')")
    engine.dispose()
    assert open_gaps == []


def test_the_example_strikes_the_same_nodes_for_the_same_seed_and_knows_its_kinds() -> None:
    scene = load(EXAMPLE)
    known = {fault.expected for fault in scene.fault} - {"unknown"}
    assert len(known) >= 15
    assert sum(fault.expected == "unknown" for fault in scene.fault) == 5
    first, again, other = strike(scene, 1), strike(scene, 1), strike(scene, 2)
    assert first == again
    assert first.keys() != other.keys()
    assert len(first) == sum(fault.nodes for fault in scene.fault)


@pytest.mark.parametrize(
    "wrong", ["hours = 0", "colour = 1", 'health_minutes = "1"', "nodes = 4"], ids=["rule", "field", "type", "too many struck"]
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, wrong: str) -> None:
    name = wrong.split(" ", maxsplit=1)[0]
    lines = [wrong, *(line for line in SMALL.splitlines()[1:5] if not line.startswith(name)), *SMALL.splitlines()[5:]]
    (tmp_path / "faults.toml").write_text("\n".join(lines))
    with pytest.raises((msgspec.ValidationError, ValueError), match=name):
        load(tmp_path / "faults.toml")


def test_a_verdict_counts_known_and_unknown_kinds_apart_and_healthy_nodes_that_were_blamed() -> None:
    truths = {f"city/{number}": Truth("f", "worn_card" if number < 4 else "unknown") for number in range(6)}
    named = {"city/0": "worn_card", "city/1": "worn_card", "city/2": "unknown", "city/4": "unknown", "city/5": "worn_card"}
    found = judge(truths, {**named, "city/9": "power_cut"})
    assert found.known == pytest.approx(0.5)
    assert found.unknown == pytest.approx(0.5)
    assert found.false == 1
    assert found.wrong == {"f (worn_card)": {"unknown": 1, "healthy": 1}, "f (unknown)": {"worn_card": 1}}
