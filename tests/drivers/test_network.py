"""The interface of the default route and its signal, as kernels print them."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers import board
from drivers.network import interface, signal_dbm

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0102A8C0\t0003\t0\t0\t202\t00000000\t0\t0\t0
wwan0\t00000000\t00000000\t0001\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0002A8C0\t00000000\t0001\t0\t0\t202\t00FFFFFF\t0\t0\t0
"""
NOWHERE = "0" * 32
ROUTES_6 = (
    f"{NOWHERE} 00 {NOWHERE} 00 fe80000000000000021122fffe334455 00000400 00000001 00000000 00450003    wlan0\n"
    f"{NOWHERE} 00 {NOWHERE} 00 {NOWHERE} ffffffff 00000001 00000000 00200200       lo\n"
)
WIRELESS = """Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   54.  -56.  -256        0      0      0      0    111        0
"""


def kernel(root: Path, **files: str) -> Path:
    (root / "proc/net").mkdir(parents=True)
    for name, text in files.items():
        (root / "proc/net" / name).write_text(text)
    return root


def test_the_route_with_the_least_metric_counts(tmp_path: Path) -> None:
    assert interface(kernel(tmp_path, route=ROUTES)) == "wwan0"


def test_a_node_with_ipv6_alone_has_one_too(tmp_path: Path) -> None:
    root = kernel(tmp_path, route=ROUTES.splitlines()[0] + "\n", ipv6_route=ROUTES_6, wireless=WIRELESS)
    assert interface(root) == "wlan0"
    assert signal_dbm("wlan0", root) == pytest.approx(-56.0)
    assert signal_dbm("wwan0", root) is None


def test_without_a_route_or_a_kernel_that_tells_there_is_none(tmp_path: Path) -> None:
    assert interface(tmp_path) == ""
    assert signal_dbm("wlan0", tmp_path) is None


@pytest.mark.parametrize(("bits", "reason"), [("0", "other"), ("32", "watchdog"), ("0x21", "watchdog"), ("1", "too_hot")])
def test_the_watchdog_says_why_the_machine_started(tmp_path: Path, bits: str, reason: str) -> None:
    status = tmp_path / "sys/class/watchdog/watchdog0/bootstatus"
    status.parent.mkdir(parents=True)
    status.write_text(f"{bits}\n")
    assert board.boot_reason(tmp_path) == reason


def test_a_machine_without_a_watchdog_does_not_guess(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="bootstatus"):
        board.boot_reason(tmp_path)
