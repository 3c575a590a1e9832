"""The firewall as shipped, loaded by the real nft in a network namespace, with real connections over a veth pair (R41)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powercut import disk

if disk.INSIDE not in os.environ:
    pytest.skip("`make test-root` runs it where what it makes ends with it", allow_module_level=True)

RULES = Path(__file__).parents[2] / "systemd/lykta.nft"
NODE, OTHER = "lykta-node", "lykta-other"
SERVE = "import socket,sys\ns=socket.create_server(('',int(sys.argv[1])))\nprint('up',flush=True)\nwhile 1: s.accept()"
REACH = "import socket,sys\nsocket.create_connection((sys.argv[1],int(sys.argv[2])),2)"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def inside(space: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", "netns", "exec", space, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def net() -> Iterator[None]:
    """Two machines on one cable; on the node 22 and 8080 listen, on the other 8883."""
    for space in (NODE, OTHER):
        ip("netns", "add", space)
    ip("link", "add", "lk0", "netns", NODE, "type", "veth", "peer", "name", "lk1", "netns", OTHER)
    for space, link, address in ((NODE, "lk0", "10.77.0.1/24"), (OTHER, "lk1", "10.77.0.2/24")):
        ip("-n", space, "addr", "add", address, "dev", link)
        ip("-n", space, "link", "set", link, "up")
        ip("-n", space, "link", "set", "lo", "up")
    assert inside(NODE, "nft", "-f", str(RULES)).returncode == 0
    serving = [_serve(NODE, 22), _serve(NODE, 8080), _serve(OTHER, 8883)]
    yield
    for process in serving:
        process.kill()
        process.wait()
    for space in (NODE, OTHER):
        ip("netns", "del", space)


def _serve(space: str, port: int) -> subprocess.Popen[str]:
    words = ["ip", "netns", "exec", space, "python3", "-c", SERVE, str(port)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def reached(space: str, host: str, port: int) -> bool:
    return inside(space, "python3", "-c", REACH, host, str(port)).returncode == 0


def test_the_node_reaches_the_centre(net: None) -> None:
    assert reached(NODE, "10.77.0.2", 8883)


def test_its_own_services_are_reached_from_itself_only(net: None) -> None:
    assert reached(NODE, "127.0.0.1", 8080)
    assert not reached(OTHER, "10.77.0.1", 8080)


def test_ssh_is_let_in_and_a_flood_is_not(net: None) -> None:
    tries = [reached(OTHER, "10.77.0.1", 22) for _ in range(13)]
    assert all(tries[:5])
    assert not all(tries)


def test_loading_again_changes_nothing(net: None) -> None:
    before = inside(NODE, "nft", "list", "ruleset").stdout
    assert inside(NODE, "nft", "-f", str(RULES)).returncode == 0
    chains = [line for line in inside(NODE, "nft", "list", "ruleset").stdout.splitlines() if "elements" not in line]
    assert len([line for line in chains if "policy drop" in line]) == before.count("policy drop") == 2
