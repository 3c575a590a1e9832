"""What a board says of itself in /sys and /proc, judged. `root`: where those lie, / but in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["PASS", "FAIL", "SKIP"]
HOT_C = 80.0
"""From here a Pi's firmware slows it down (soft limit of the BCM2711 and BCM2712 at 80 to 85 °C)."""
WORN = 0x0B
"""JESD84-B51: device life time estimate 0x0B is "exceeded its maximum estimated life time", 0x01 is 0 to 10 % used."""
_YEAR_2026 = 1_767_225_600


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    figure: str


def read(path: Path) -> str:
    return path.read_text(errors="replace").strip("\0\n ")


def model(root: Path) -> Result:
    """The board; its serial number is not asked for."""
    path = root / "proc/device-tree/model"
    return Result("PASS", read(path)) if path.exists() else Result("SKIP", "no device tree: not a Raspberry Pi")


def tpm(root: Path) -> Result:
    for chip in sorted((root / "sys/class/tpm").glob("tpm[0-9]*")):
        major = read(chip / "tpm_version_major")
        return Result("PASS" if major == "2" else "FAIL", f"{chip.name}: version {major}")
    return Result("SKIP", "no TPM: keys are sealed to a key on the card, which protects nothing once the card is out")


def clock(root: Path, now: float | None = None) -> Result:
    """A real-time clock that keeps the time without power; a Pi 5 without a battery has one that says 1970."""
    for device in sorted((root / "sys/class/rtc").glob("rtc[0-9]*")):
        seconds = int(read(device / "since_epoch"))
        off = seconds - (time.time() if now is None else now)
        fine = seconds >= _YEAR_2026 and abs(off) < 60
        return Result("PASS" if fine else "FAIL", f"{device.name} {read(device / 'name')}: {off:+.0f} s from the system's clock")
    return Result("SKIP", "no real-time clock: the time is unknown after a power cut until a time server answers")


def watchdog(root: Path) -> Result:
    for device in sorted((root / "sys/class/watchdog").glob("watchdog[0-9]*")):
        facts = {name: read(device / name) for name in ("identity", "state", "timeout")}
        figure = f"{facts['identity']}: {facts['state']}, {facts['timeout']} s"
        return Result("PASS" if facts["state"] == "active" else "FAIL", figure)
    return Result("SKIP", "no hardware watchdog: a kernel that hangs stays so")


def wear(root: Path) -> Result:
    """eMMC says how much of its life is used; SD cards do not."""
    for device in sorted((root / "sys/block").glob("mmcblk[0-9]*")):
        kind, name = read(device / "device/type"), read(device / "device/name")
        life = device / "device/life_time"
        if kind == "MMC" and life.exists():
            values = [int(value, 16) for value in read(life).split()]
            figure = f"{device.name} {name}: at most {max(values) * 10} % used, end of life {read(device / 'device/pre_eol_info')}"
            return Result("FAIL" if max(values) >= WORN else "PASS", figure)
        return Result("SKIP", f"{device.name} {name}: {kind} cards do not tell their wear; made {read(device / 'device/date')}")
    return Result("SKIP", "no SD card and no eMMC")


def heat(root: Path, work: Callable[[], None]) -> Result:
    """Degrees and the firmware's throttle bits, at rest and after the work."""
    zone, bits = root / "sys/class/thermal/thermal_zone0/temp", root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    if not zone.exists():
        return Result("SKIP", "no temperature here")
    rest = int(read(zone)) / 1000
    work()
    warm = int(read(zone)) / 1000
    throttled = int(read(bits), 16) if bits.exists() else 0
    figure = f"{rest:.1f} °C at rest, {warm:.1f} °C after the load, throttle bits {throttled:#x}"
    return Result("FAIL" if warm >= HOT_C or throttled else "PASS", figure)
