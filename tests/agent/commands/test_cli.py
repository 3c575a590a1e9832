"""`lykta`'s words: exit codes, error and hint, and one versioned object with --json."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.config import Config, parse
from privacy.errors import ConfigError
from tests.support.nodes import BIN, Node, ago, stop, until
from tests.support.settings import GOOD


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "[camera]\nzoom = 2\n", "camera.zoom: unknown key"),
        (GOOD + "[camera]\nwidth = 641\n", "camera.width: "),
        (GOOD + "[camera]\nfps = 'many'\n", "camera.fps: "),
        (GOOD + "[mask]\nprofile = 'none'\n", "mask.profile: "),
        (GOOD + "[camera]\nsource = 'file'\n", "camera.file: must be set"),
        (GOOD.replace('"city"', '"City!"'), "node.site: "),
        ("[node\n", "not TOML"),
        ("", "node"),
    ],
)
def test_a_bad_setting_names_field_rule_and_value(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as problem:
        parse(text)
    assert words in str(problem.value)
    assert problem.value.hint


def test_a_range_error_shows_the_value() -> None:
    with pytest.raises(ConfigError, match=r"record\.post_roll: .*\(got 0\)"):
        parse(GOOD + "[record]\npost_roll = 0\n")


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        assert isinstance(parse(text), Config)
    except ConfigError as problem:
        assert str(problem)


def test_config_commands(node: Node) -> None:
    assert node.run("config", "validate").returncode == 0
    assert json.loads(node.run("config", "show", "--json").stdout)["settings"]["camera"]["source"] == "file"
    assert json.loads(node.run("config", "schema").stdout)["$defs"]["Camera"]
    node.settings(camera__fps="900")
    done = node.run("config", "validate")
    assert done.returncode == 5
    assert "camera.fps" in done.stderr


def test_basis_commands(node: Node) -> None:
    """R01: what is allowed and whether the lens may be open now."""
    shown = json.loads(node.run("basis", "show", "--json").stdout)
    assert shown["basis"]["node"] == shown["view"]["node"] == "stop-1"
    assert json.loads(node.run("basis", "verify", "--json").stdout)["open"] is True
    node.sign("basis", end=ago(hours=1))
    late = json.loads(node.run("basis", "verify", "--json").stdout)
    assert (late["open"], late["reason"]) == (False, "basis_expired")
    node.sign("basis", node="stop-9")
    done = node.run("basis", "verify")
    assert done.returncode == 5
    assert "stop-9" in done.stderr


def test_status_says_what_is_not_reachable(node: Node) -> None:
    done = node.run("status", "--json")
    assert done.returncode == 4
    found = json.loads(done.stdout)
    assert found["not_reachable"] == ["camera", "io", "uplink"]
    assert "hint: " in done.stderr
    assert (found["node"], found["version"]) == ("linkoping-demo/stop-1", version("lykta"))
    assert [(record["kind"], record["id"]) for record in found["records"]] == [("basis", "basis-1"), ("view", "view-1")]


def test_status_names_node_records_and_what_does_not_run(node: Node) -> None:
    """14.F21: the first lines are who this is and until when its basis stands; a service that is not there is not running."""
    done = node.run("status")
    assert f"linkoping-demo/stop-1, lykta {version('lykta')}" in done.stdout
    end = json.loads(node.run("basis", "show", "--json").stdout)["basis"]["end"]
    assert f"basis-1, until {datetime.fromisoformat(end):%Y-%m-%d %H:%M} UTC" in done.stdout
    assert done.stdout.count("is not running") == 3
    assert "camera: is not running; io: is not running; uplink: is not running" in done.stderr
    assert "Errno" not in done.stdout + done.stderr
    node.sign("basis", end=ago(hours=1))
    assert "is over" in node.run("status").stdout
    node.layout.basis.unlink()
    assert "basis.jws" in node.run("status").stdout, "what cannot be read is said, and the rest is shown"


def test_status_of_a_running_node(node: Node) -> None:
    services = {name: node.start(name, log=name) for name in ("io", "uplink", "camera")}
    until(lambda: node.state("camera")[0] == "ready", "ready")
    until(lambda: node.state("uplink") == ("degraded", "broker_unreachable"), "the uplink says why it is degraded")
    # Each command waits two seconds for each service, which a busy machine may exceed.
    done = until(lambda: (said := node.run("status", "--json")).returncode == 0 and said, "all three answer")
    found = json.loads(done.stdout)
    assert found["schema"] == "lykta.status/1"
    assert {name: answer["standing"]["state"] for name, answer in found["services"].items()} == {
        "camera": "ready", "io": "ready", "uplink": "degraded",
    }  # fmt: skip
    until(lambda: "filming" in node.run("status").stdout, "the status says that it films")
    until(lambda: node.run("check").returncode == 0, "nothing is wrong")
    until(lambda: node.run("check", "--strict").returncode == 3, "strictly taken there are warnings")
    assert {name: stop(process) for name, process in services.items()} == {"io": 0, "uplink": 0, "camera": 0}


def test_check_finds_what_is_wrong_and_changes_nothing(node: Node) -> None:
    before = {path: path.read_bytes() for path in node.root.rglob("*") if path.is_file()}
    assert node.run("check", "config", "keys", "records", "models").returncode == 0
    assert {path: path.read_bytes() for path in node.root.rglob("*") if path.is_file()} == before
    node.layout.basis.unlink()
    done = node.run("check", "--json")
    assert done.returncode == 1
    bad = {finding["group"] for finding in json.loads(done.stdout)["findings"] if finding["result"] == "fail"}
    assert "records" in bad


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nonsense"], 2),
        (["mask"], 2),
        (["mask", "a", "b", "--profile", "none"], 2),
        (["check", "weather"], 2),
        (["clips", "show", "../../etc"], 2),
        (["clips", "show", "nothing"], 2),
        (["--help"], 0),
    ],
)
def test_exit_codes(node: Node, words: list[str], code: int) -> None:
    assert node.run(*words).returncode == code


def test_a_machine_without_a_node(tmp_path: object) -> None:
    words = [BIN / "lykta", "--root", str(tmp_path)]
    for command, code in ((["config", "validate"], 5), (["basis", "show"], 7), (["camera"], 5), (["clips", "list"], 0)):
        done = subprocess.run([*words, *command], capture_output=True, text=True, check=False)
        assert done.returncode == code, (command, done.stderr)


@pytest.mark.parametrize(
    ("ends", "result", "code"), [({"hours": 1}, "fail", 1), ({"days": -29}, "warn", 0), ({"days": -31}, "ok", 0)]
)
def test_check_looks_at_the_end_of_the_basis(node: Node, ends: dict[str, int], result: str, code: int) -> None:
    """14.F21: an expired basis was green."""
    node.sign("basis", end=ago(**ends))
    done = node.run("check", "records", "--json")
    assert done.returncode == code
    assert [one["result"] for one in json.loads(done.stdout)["findings"]] == [result]


def test_a_basis_without_hours_is_not_green(node: Node) -> None:
    """14.F21"""
    node.sign("basis", hours=[])
    done = node.run("check", "records")
    assert done.returncode == 1
    assert "has no hours" in done.stdout


def test_a_root_that_the_demo_would_ignore_is_refused(node: Node, tmp_path: Path) -> None:
    done = node.run("demo", "--dir", str(tmp_path / "demo"), "--video", str(tmp_path / "none.mp4"))
    assert done.returncode == 2
    assert "demo: --root: has no meaning with it" in done.stderr
