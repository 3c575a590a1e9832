"""Measurements of this machine, from the kernel. OSError where a value does not exist, ValueError if it is invalid."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_ROOT = Path("/")
_MODEL = Path("/proc/device-tree/model")
_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")


def model() -> str:
    """The board's name; on anything but a Pi the kernel's machine name, e.g. x86_64."""
    return _text(_MODEL) if _MODEL.exists() else os.uname().machine


def load() -> float:
    """Load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def memory_mb() -> int:
    """Available memory of the machine."""
    (line,) = [line for line in _text(Path("/proc/meminfo")).splitlines() if line.startswith("MemAvailable:")]
    return int(line.split()[1]) * 1024 // 1_000_000


def temperature() -> float:
    """Degrees Celsius."""
    return int(_text(_THERMAL)) / 1000


def throttled() -> int:
    """The firmware's throttle bits (`vcgencmd get_throttled`); 0: no undervoltage and no throttling since boot."""
    return int(_THROTTLED.read_text(), 16)


def free_mb(path: Path) -> int:
    """Free space of the file system that holds path."""
    return shutil.disk_usage(path).free // 1_000_000


def used_share(path: Path) -> float:
    """Used share, 0..1, of what users other than root may use of the file system that holds path; 0 if it has no blocks."""
    usage = shutil.disk_usage(path)
    return round(usage.used / (usage.used + usage.free or 1), 3)


def read_only(path: Path) -> int:
    """1 if the file system that holds path is mounted read-only, else 0."""
    return int(bool(os.statvfs(path).f_flag & os.ST_RDONLY))


def listening() -> set[int]:
    """TCP ports that listen on an address other than loopback. `PermissionError` if this user may not list them."""
    import psutil  # the uplink, which imports this file, has no use for its megabyte

    try:
        every = psutil.net_connections("inet")
    except psutil.AccessDenied as problem:
        raise PermissionError(str(problem)) from problem
    bound = [one.laddr for one in every if one.status == psutil.CONN_LISTEN]
    return {one.port for one in bound if one and not _local(one.ip)}


def _local(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


# -- power and wear: files of sysfs; `root` is another folder in tests ---------------------------------------------------

UNDERVOLTAGE, CAPPED, THROTTLING, HOT = 1, 2, 4, 8
_NOW = UNDERVOLTAGE | CAPPED | THROTTLING | HOT


class PowerEventCounter:
    """Counts how often undervoltage, capped frequency, throttling and the soft temperature limit began.

    The firmware has no counters: its bits 0 to 3 give the present state, and its sticky bits 16 to 19 stay set until the next
    boot. An event that began and ended between two readings shows only as a newly set sticky bit and counts once.
    """

    def __init__(self) -> None:
        self._before: int | None = None
        self.counts = dict.fromkeys((UNDERVOLTAGE, CAPPED, THROTTLING, HOT), 0)

    def see(self, bits: int) -> None:
        """Take one reading. bits: of get_throttled. A bit that is set in the first reading counts once."""
        before = self._before or 0
        began = bits & ~before & _NOW
        passed = (bits >> 16) & ~(before >> 16) & ~bits & _NOW
        for bit in self.counts:
            self.counts[bit] += bool((began | passed) & bit)
        self._before = bits


_BOOT_STATUS = {0x20: "watchdog", 0x01: "too_hot", 0x10: "power_fault"}
"""Bits of a watchdog's boot status (Documentation/watchdog/watchdog-api.rst): reset by the card, overheat, power under-voltage."""


def boot_reason(root: Path = _ROOT) -> str:
    """Why the machine started, as its watchdog knows it: watchdog, too_hot, power_fault, else other. `OSError` without one."""
    bits = int(_text(root / "sys/class/watchdog/watchdog0/bootstatus"), 0)
    return next((reason for bit, reason in _BOOT_STATUS.items() if bits & bit), "other")


def serial(root: Path = _ROOT) -> str:
    """The board's serial number; `OSError` on anything but a Pi."""
    return _text(root / "proc/device-tree/serial-number")


def undervoltage(root: Path = _ROOT) -> int:
    """1 while the kernel's rpi_volt sensor reports undervoltage, else 0; `OSError` if there is no such sensor."""
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        if _text(name) == "rpi_volt":
            return int(name.with_name("in0_lcrit_alarm").read_text())
    raise FileNotFoundError("no rpi_volt in /sys/class/hwmon")


# The following read the block device of the file system that holds a path, whatever kind of storage it is. `OSError` if that
# file system has no block device.


def written_mb(path: Path, root: Path = _ROOT) -> float:
    """MB written since boot: field 7 of the kernel's block statistics, in sectors of 512 bytes (Documentation/block/stat.rst)."""
    return round(int(_words(_device(path, root) / "stat", 7)[6]) * 512 / 1e6, 3)


def life_used(path: Path, root: Path = _ROOT) -> float:
    """Used share of an eMMC's rated lifetime, 0..1 in steps of 0.1, the higher of its two kinds of cells (JEDEC 5.0, life_time).

    `OSError` for any other storage: an SD card has no such register. `ValueError` if the device leaves the register undefined.
    """
    kinds = [int(text, 16) for text in _words(_disk(path, root) / "device/life_time", 1)]
    if not any(kinds):
        raise ValueError("this device does not report life_time")
    return min(max(kinds), 10) / 10


def end_of_life(path: Path, root: Path = _ROOT) -> int:
    """State of an eMMC's spare blocks (pre_eol_info): 1 normal, 2: 80 % used, 3 urgent.

    `OSError` for any other storage. `ValueError` if the device leaves the register undefined.
    """
    level = int((_disk(path, root) / "device/pre_eol_info").read_text(), 16)
    if level == 0:
        raise ValueError("this device does not report pre_eol_info")
    return level


def lifetime_written_mb(path: Path, root: Path = _ROOT) -> float:
    """MB that ext4 has written to the partition since the file system was created."""
    return int((root / "sys/fs/ext4" / _device(path, root).name / "lifetime_write_kbytes").read_text()) * 1024 / 1e6


def _device(path: Path, root: Path) -> Path:
    """The folder in sysfs of the block device (a partition, or a whole disk) that holds path."""
    number = path.stat().st_dev
    device = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    if not device.exists():
        raise FileNotFoundError(f"{path}: its file system has no block device")
    return device.resolve()


def _disk(path: Path, root: Path) -> Path:
    """The folder in sysfs of the whole disk that holds path."""
    device = _device(path, root)
    return device.parent if (device / "partition").exists() else device


def _text(path: Path) -> str:
    """A file of the kernel, the firmware or the device tree. Bytes that are not UTF-8 are replaced."""
    return path.read_text(errors="replace").strip("\0\n ")


def _words(path: Path, least: int) -> list[str]:
    """The words of a file; `ValueError` if there are fewer than `least`."""
    found = _text(path).split()
    if len(found) < least:
        raise ValueError(f"{path}: {len(found)} words, not {least}")
    return found
