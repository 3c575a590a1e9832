"""The network interface of the default route, and its radio signal, from the kernel. `root` is another folder in tests."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path("/")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,15}")
_UP = 0x1


def interface(root: Path = _ROOT) -> str:
    """The interface of the default route with the least metric, IPv4 first; "" if there is none. /proc/net/route, ipv6_route."""
    for found in (_v4(root), _v6(root)):
        if found:
            return min(found)[1]
    return ""


def _v4(root: Path) -> list[tuple[int, str]]:
    """Metric and name of each default route: columns Iface, Destination, Gateway, Flags, RefCnt, Use, Metric, Mask."""
    rows = [line.split() for line in _lines(root / "proc/net/route")[1:]]
    return [(int(row[6]), row[0]) for row in rows if len(row) > 7 and row[1] == row[7] == "00000000" and _usable(row[0], row[3])]


def _v6(root: Path) -> list[tuple[int, str]]:
    """Columns: destination, its prefix length, source, its length, next hop, metric, use counts, flags, name; hexadecimal."""
    rows = [line.split() for line in _lines(root / "proc/net/ipv6_route")]
    anywhere = [row for row in rows if len(row) > 9 and row[0] == "0" * 32 and row[1] == "00"]
    return [(int(row[5], 16), row[9]) for row in anywhere if row[9] != "lo" and _usable(row[9], row[8])]


def _usable(name: str, flags: str) -> bool:
    return bool(int(flags, 16) & _UP and _NAME.fullmatch(name))


def signal_dbm(name: str, root: Path = _ROOT) -> float | None:
    """The level of a Wi-Fi interface's signal, dBm; None if the kernel knows none. /proc/net/wireless, third number of its line."""
    for line in _lines(root / "proc/net/wireless"):
        label, _, rest = line.partition(":")
        if label.strip() == name and len(fields := rest.split()) > 2:
            return float(fields[2].rstrip("."))
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:  # a kernel without it
        return []
