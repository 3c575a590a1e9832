"""A node whose clock is wrong: 1970 after a boot without a battery, an hour off after a bad sync. Nothing breaks, nothing is lost.

How long clips stay under such clocks is the retention's own matter (R28).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from privacy.records.chains import verify_chain
from provisioning.identity import load_authority
from tests.support.broker import PATIENCE
from tests.support.clips import Node as ClipNode
from tests.support.clips import made
from tests.support.nodes import Node, stop, until
from tests.support.wrong_clocks import CLOCKS, STEADY

pytestmark = pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime: provisioning/setup/setup.sh powercut")


@pytest.fixture
def clip_node(tmp_path: Path) -> ClipNode:
    made("keygen", tmp_path / "keys")
    clip_node = ClipNode(tmp_path / "keys", "city/stop-1", tmp_path / "node")
    clip_node.clip()
    clip_node.clip(trigger="help")
    return clip_node


def at(clock: str, words: list[str]) -> tuple[int, Any]:
    """Exit code and JSON of a command under that clock."""
    done = subprocess.run(
        ["faketime", "-f", clock, *words, "--json"],
        env=os.environ | STEADY,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("clock", CLOCKS)
def test_clips_are_listed_and_verified_under_any_clock(clip_node: ClipNode, clock: str) -> None:
    """Evidence is judged at its own time, not at ours."""
    node = Node(clip_node.layout.root, clip_node.layout.root)
    right = at("+0", node.words("clips", "list"))
    assert right[0] == 0
    assert len(right[1]["clips"]) == 2
    assert at(CLOCKS[clock], node.words("clips", "list")) == right
    for clip in right[1]["clips"]:
        assert at(CLOCKS[clock], node.words("clips", "verify", clip["clip"]))[0] == 0


@pytest.mark.parametrize("clock", CLOCKS)
def test_check_finds_under_any_clock_what_it_finds_under_the_right_one(clip_node: ClipNode, clock: str) -> None:
    node = Node(clip_node.layout.root, clip_node.layout.root)
    words = node.words("check", "keys", "journal")
    right = at("+0", words)
    assert right[1]["schema"] == "lykta.check/1"
    assert {finding["group"] for finding in right[1]["findings"]} == {"keys", "journal"}
    assert at(CLOCKS[clock], words) == right


def test_check_says_that_a_clock_is_behind_what_the_node_knows(clip_node: ClipNode) -> None:
    """R07: the certificates' begin, where there is no journal yet."""
    node = Node(clip_node.layout.root, clip_node.layout.root)
    code, said = at(CLOCKS["1970"], node.words("check", "clock"))
    assert code == 1
    assert said["findings"][0]["what"].startswith("1970-01-01 00:05 UTC is before ")


def test_in_1970_the_lens_stays_closed_and_the_chain_goes_on(node: Node) -> None:
    """R07, R01: a node that believes itself in 1970 rests; back in its time it films, and its journal is one chain."""
    early = subprocess.Popen(["faketime", "-f", CLOCKS["1970"], *node.words("camera")], env=os.environ | STEADY)
    until(lambda: node.state("camera") == ("off", "time_unknown"), "off")
    assert node.status("camera")["detail"]["clock"] == "unknown"
    # faketime starts the command as its child and hands no signal on.
    os.kill(node.status("camera")["pid"], signal.SIGTERM)
    assert early.wait(PATIENCE * 10) == 0
    service = node.start("camera")
    until(lambda: node.state("camera") == ("ready", "filming"), "filming")
    assert stop(service) == 0
    chain = verify_chain(node.layout.journal("camera"), "camera", load_authority(node.layout))
    assert chain.entries[-1].t.year > 2000
    assert node.run("check", "journal").returncode == 0


def test_in_1970_help_works_and_says_that_it_knows_no_time(node: Node) -> None:
    """R07, promise 5: neither io nor its READY waits for the time."""
    early = subprocess.Popen(["faketime", "-f", CLOCKS["1970"], *node.words("io")], env=os.environ | STEADY)
    until(lambda: node.state("io")[0] == "ready", "ready")
    found = node.status("io")
    assert found["detail"]["clock"] == "unknown"
    os.kill(found["pid"], signal.SIGTERM)
    assert early.wait(PATIENCE * 10) == 0
