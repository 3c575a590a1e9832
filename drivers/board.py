"""The machine: what psutil and the kernel tell of it. Raises OSError where this machine cannot say."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_MODEL = Path("/proc/device-tree/model")
_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")


def model() -> str:
    """The board's name, or the kernel's machine off a Pi."""
    return _MODEL.read_text().rstrip("\0\n") if _MODEL.exists() else os.uname().machine


def load() -> float:
    return round(os.getloadavg()[0], 2)


def memory_mb() -> int:
    return int(psutil.virtual_memory().available // 1_000_000)


def temperature() -> float:
    """Degrees Celsius."""
    return int(_THERMAL.read_text()) / 1000


def throttled() -> int:
    """The firmware's throttle bits: 0 is good."""
    return int(_THROTTLED.read_text(), 16)


def free_mb(path: Path) -> int:
    return int(psutil.disk_usage(str(path)).free // 1_000_000)


def used_share(path: Path) -> float:
    """0..1"""
    return round(psutil.disk_usage(str(path)).percent / 100, 3)


def written_mb(path: Path) -> float:
    """MB written since the start to the block device under a path. `OSError` where the file system has none of its own.

    Field 7 of the kernel's block statistics: sectors of 512 bytes (Documentation/block/stat.rst).
    """
    device = path.stat().st_dev
    counts = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return round(int(counts[6]) * 512 / 1e6, 3)


def own_memory_mb() -> float:
    """Resident memory of this process."""
    return round(psutil.Process().memory_info().rss / 1_000_000, 1)
