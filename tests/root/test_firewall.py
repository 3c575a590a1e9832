"""The firewall as shipped, loaded by the real nft in a network namespace, with real connections over a veth pair (R41)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powercut import disk
from tests.support.broker import PATIENCE

if disk.INSIDE not in os.environ:
    pytest.skip("`make test-root` runs it where what it makes ends with it", allow_module_level=True)

RULES = Path(__file__).parents[2] / "systemd/lykta.nft"
NODE, OTHER = "lykta-node", "lykta-other"
SERVE = """import socket, sys
s = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("up", flush=True)
while 1: s.accept()
"""
REACH = "import socket,sys\nsocket.create_connection((sys.argv[1],int(sys.argv[2])),2)"
# Prints the ports that datagrams came from, until one comes from port 9, by which the node itself ends it.
HEAR = """import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", int(sys.argv[1])))
print("up", flush=True)
while (port := s.recvfrom(99)[1][1]) != 9: print(port, flush=True)
"""
SAY = """import socket, sys
own, port, host, to = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
family, _, _, _, own = socket.getaddrinfo(own, port)[0]
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind(own)
s.sendto(b"offer", socket.getaddrinfo(host, to, family)[0][4])
"""
# So many echo requests at once; prints how many were answered (RFC 792: type 8, code 0, a checksum over the whole).
PING = """import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(1)
for n in range(int(sys.argv[2])):
    s.sendto(struct.pack("!BBHHH", 8, 0, 0xffff - (0x0800 + 77 + n), 77, n), (sys.argv[1], 0))
count = 0
try:
    while 1: count += s.recv(99)[20] == 0
except TimeoutError: print(count)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def inside(space: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", space, *words], capture_output=True, text=True, timeout=PATIENCE * 60, check=False
    )


@pytest.fixture(scope="module")
def net() -> Iterator[None]:
    """Two machines on one cable; on the node 22 and 8080 listen, on the other 8883."""
    for space in (NODE, OTHER):
        ip("netns", "add", space)
    ip("link", "add", "lk0", "netns", NODE, "type", "veth", "peer", "name", "lk1", "netns", OTHER)
    for space, link, host in ((NODE, "lk0", 1), (OTHER, "lk1", 2)):
        ip("-n", space, "addr", "add", f"10.77.0.{host}/24", "dev", link)
        for address in (f"fd77::{host}/64", f"fe80::77:{host}/64"):
            ip("-n", space, "addr", "add", address, "dev", link, "nodad")
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


def _serve(space: str, port: int, code: str = SERVE) -> subprocess.Popen[str]:
    words = ["ip", "netns", "exec", space, "python3", "-c", code, str(port)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def reached(space: str, host: str, port: int) -> bool:
    return inside(space, "python3", "-c", REACH, host, str(port)).returncode == 0


def heard(port: int, *said: tuple[str, int, str]) -> list[int]:
    """What the node hears on a port of datagrams from an address and port of the other, to an address of its own."""
    ear = _serve(NODE, port, HEAR)
    for own, source, host in said:
        assert inside(OTHER, "python3", "-c", SAY, own, str(source), host, str(port)).returncode == 0
    assert inside(NODE, "python3", "-c", SAY, "127.0.0.1", "9", "127.0.0.1", str(port)).returncode == 0
    return [int(line) for line in ear.communicate(timeout=PATIENCE * 30)[0].split()]


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


def test_neighbours_are_found_over_ipv6_and_the_rule_is_the_same(net: None) -> None:
    assert reached(NODE, "fd77::2", 8883)
    assert reached(OTHER, "fd77::1", 22)
    assert not reached(OTHER, "fd77::1", 8080)


def test_an_address_is_leased_from_a_dhcp_server_and_from_nobody_else(net: None) -> None:
    assert heard(68, ("10.77.0.2", 67, "10.77.0.1"), ("10.77.0.2", 6767, "10.77.0.1")) == [67]
    from_the_link, from_afar = ("fe80::77:2%lk1", 547, "fe80::77:1%lk1"), ("fd77::2", 547, "fd77::1")
    assert heard(546, from_the_link) == [547]
    assert heard(546, from_afar) == []
    assert heard(5353, ("10.77.0.2", 5353, "10.77.0.1")) == []


def test_a_ping_is_answered_and_a_flood_of_them_is_not(net: None) -> None:
    assert int(inside(OTHER, "python3", "-c", PING, "10.77.0.1", "1").stdout) == 1
    assert 1 <= int(inside(OTHER, "python3", "-c", PING, "10.77.0.1", "60").stdout) <= 20
