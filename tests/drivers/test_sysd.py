"""One suite over both kinds of company that a service has: nobody (run by hand), and systemd with its journal.

The second needs a service manager: the container suite runs this file in a booted node and says so in LYKTA_SYSTEMD.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Literal

import pytest

MANAGED = "LYKTA_SYSTEMD" in os.environ
Company = Literal["nobody", "systemd"]


class Bench:
    """A process of its own for a few words of Python, and what was said by it and of it."""

    def __init__(self, company: Company) -> None:
        self.company, self.unit = company, f"lykta-lab-{uuid.uuid4().hex[:8]}"

    def run(self, code: str, *properties: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", f"from drivers import sysd\n{code}"]
        if self.company == "systemd":
            given = [word for one in properties for word in ("-p", one)]
            words = ["systemd-run", "--wait", "--quiet", "--collect", "--unit", self.unit, *given, *words]
        # Whoever runs these tests may be a service itself.
        alone = {name: value for name, value in os.environ.items() if name not in ("JOURNAL_STREAM", "NOTIFY_SOCKET")}
        return subprocess.run(words, env=alone, capture_output=True, text=True, timeout=240, check=False)

    def said(self, done: subprocess.CompletedProcess[str]) -> str:
        """What a technician reads of it."""
        if self.company == "nobody":
            return done.stderr
        subprocess.run(["journalctl", "--sync"], check=True)
        words = ["journalctl", "-q", "-o", "verbose", f"_SYSTEMD_UNIT={self.unit}.service"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture(params=["nobody", "systemd"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "systemd" and not MANAGED:
        pytest.skip("no service manager to spare here: the container suite runs it in a booted node")
    return Bench(request.param)


def test_a_line_says_its_words_and_its_fields_in_both(bench: Bench) -> None:
    done = bench.run("sysd.log('lab', 'error', 'the sign is dark', pin=17, why='cut')")
    assert done.returncode == 0, done.stderr
    said = bench.said(done)
    assert "the sign is dark pin=17 why=cut" in said
    if bench.company == "nobody":
        assert said == "error lab: the sign is dark pin=17 why=cut\n"
    else:
        for field in ("PRIORITY=3", "LYKTA_UNIT=lab", "LYKTA_PIN=17", "LYKTA_WHY=cut", "SYSLOG_IDENTIFIER=lykta-lab"):
            assert f"    {field}\n" in said


def test_readiness_is_told_to_whoever_asks_for_it(bench: Bench) -> None:
    """systemd counts a service of this type as started by this word alone: without it the run would fail."""
    done = bench.run("sysd.notify('READY=1', 'STATUS=ready: filming')", "Type=notify", "TimeoutStartSec=10")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("address", ["{folder}/notify", "@lykta-{name}"])
def test_a_manager_is_told_at_either_kind_of_address(address: str, tmp_path: Path) -> None:
    """sd_notify(3): a path, or with a leading @ an abstract name."""
    given = address.format(folder=tmp_path, name=uuid.uuid4().hex)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(given.replace("@", "\0"))
        words = [sys.executable, "-c", "from drivers import sysd; sysd.notify('READY=1', 'STATUS=ready: filming')"]
        subprocess.run(words, env=os.environ | {"NOTIFY_SOCKET": given}, check=True)
        manager.setblocking(False)
        assert manager.recv(4096) == b"READY=1\nSTATUS=ready: filming"


def test_a_word_short_of_ready_is_not_ready(bench: Bench) -> None:
    done = bench.run("sysd.notify('STATUS=starting')", "Type=notify", "TimeoutStartSec=10")
    assert (done.returncode == 0) == (bench.company == "nobody")


def test_last_lines_are_there_or_there_are_none(bench: Bench) -> None:
    said = bench.run("sysd.log('lab', 'info', 'one'); sysd.log('lab', 'warning', 'two')")
    assert said.returncode == 0
    bench.said(said)
    done = subprocess.run(
        [sys.executable, "-c", "from drivers import sysd; print(*sysd.recent(['lab'], 2), sep='\\n')"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    if bench.company == "systemd":
        assert [line.split(" ", 2)[2] for line in lines] == ["lykta-lab: one", "lykta-lab: two"]
    else:
        assert lines == [""]
