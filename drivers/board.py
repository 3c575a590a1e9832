"""The machine: what psutil and the kernel tell of it. Raises OSError where this machine cannot say, ValueError for nonsense."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_ROOT = Path("/")
_MODEL = Path("/proc/device-tree/model")
_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")


def model() -> str:
    """The board's name, or the kernel's machine off a Pi."""
    return _text(_MODEL) if _MODEL.exists() else os.uname().machine


def load() -> float:
    return round(os.getloadavg()[0], 2)


def memory_mb() -> int:
    return int(psutil.virtual_memory().available // 1_000_000)


def temperature() -> float:
    """Degrees Celsius."""
    return int(_text(_THERMAL)) / 1000


def throttled() -> int:
    """The firmware's throttle bits: 0 is good."""
    return int(_THROTTLED.read_text(), 16)


def free_mb(path: Path) -> int:
    return int(psutil.disk_usage(str(path)).free // 1_000_000)


def used_share(path: Path) -> float:
    """0..1"""
    return round(psutil.disk_usage(str(path)).percent / 100, 3)


def own_memory_mb() -> float:
    """Resident memory of this process."""
    return round(psutil.Process().memory_info().rss / 1_000_000, 1)


def listening() -> set[int]:
    """TCP ports that others than this machine may reach. `OSError` where it may not look."""
    try:
        every = psutil.net_connections("inet")
    except psutil.AccessDenied as problem:
        raise PermissionError(str(problem)) from problem
    bound = [one.laddr for one in every if one.status == psutil.CONN_LISTEN]
    return {one.port for one in bound if one and not _local(one.ip)}


def _local(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


# -- power and wear: files of sysfs, under any root ----------------------------------------------------------------------

UNDERVOLTAGE, CAPPED, THROTTLING, HOT = 1, 2, 4, 8
_NOW = UNDERVOLTAGE | CAPPED | THROTTLING | HOT


class Edges:
    """How often undervoltage and throttling began, counted by ourselves: the firmware's sticky bits (16 to 19) stay until the
    next boot and say only that it happened. What began and ended between two looks shows as a sticky bit that is new: one.
    """

    def __init__(self) -> None:
        self._before: int | None = None
        self.counts = dict.fromkeys((UNDERVOLTAGE, CAPPED, THROTTLING, HOT), 0)

    def see(self, bits: int) -> None:
        """bits: of get_throttled. What stood at the first look began before it, and counts once."""
        before = self._before or 0
        began = bits & ~before & _NOW
        passed = (bits >> 16) & ~(before >> 16) & ~bits & _NOW
        for bit in self.counts:
            self.counts[bit] += bool((began | passed) & bit)
        self._before = bits


def serial(root: Path = _ROOT) -> str:
    """The board's serial number; `OSError` off a Pi."""
    return _text(root / "proc/device-tree/serial-number")


def undervoltage(root: Path = _ROOT) -> int:
    """1 while the kernel's rpi_volt sensor warns, else 0; `OSError` where there is none."""
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        if _text(name) == "rpi_volt":
            return int(name.with_name("in0_lcrit_alarm").read_text())
    raise FileNotFoundError("no rpi_volt in /sys/class/hwmon")


# What lies under a path: its file system's block device, whatever the board stores on. `OSError` where it has none of its own.


def written_mb(path: Path, root: Path = _ROOT) -> float:
    """MB written since the start: sectors of 512 bytes, field 7 of the kernel's block statistics (Documentation/block/stat.rst)."""
    return round(int(_words(_device(path, root) / "stat", 7)[6]) * 512 / 1e6, 3)


def life_used(path: Path, root: Path = _ROOT) -> float:
    """Share of its life that an eMMC has used, 0..1 in tenths, the worse of both kinds of cells (JEDEC 5.0, life_time).

    `OSError` on anything else: SD has no such register. `ValueError` if it is not told.
    """
    kinds = [int(text, 16) for text in _words(_disk(path, root) / "device/life_time", 1)]
    if not any(kinds):
        raise ValueError("life_time is not told by this device")
    return min(max(kinds), 10) / 10


def end_of_life(path: Path, root: Path = _ROOT) -> int:
    """Spare blocks of an eMMC: 1 normal, 2 80 % used, 3 urgent (pre_eol_info).

    `OSError` on anything else, `ValueError` if it is not told.
    """
    level = int((_disk(path, root) / "device/pre_eol_info").read_text(), 16)
    if level == 0:
        raise ValueError("pre_eol_info is not told by this device")
    return level


def lifetime_written_mb(path: Path, root: Path = _ROOT) -> float:
    """MB that ext4 has written to a partition since it was made."""
    return int((root / "sys/fs/ext4" / _device(path, root).name / "lifetime_write_kbytes").read_text()) * 1024 / 1e6


def _device(path: Path, root: Path) -> Path:
    """Its folder in sysfs."""
    number = path.stat().st_dev
    device = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    if not device.exists():
        raise FileNotFoundError(f"{path}: lies on no block device of its own")
    return device.resolve()


def _disk(path: Path, root: Path) -> Path:
    device = _device(path, root)
    return device.parent if (device / "partition").exists() else device


def _text(path: Path) -> str:
    """Of the kernel, firmware or device tree, which are no text of ours: what is no UTF-8 is replaced."""
    return path.read_text(errors="replace").strip("\0\n ")


def _words(path: Path, least: int) -> list[str]:
    """At least so many; else `ValueError`."""
    found = _text(path).split()
    if len(found) < least:
        raise ValueError(f"{path}: {len(found)} words, not {least}")
    return found
