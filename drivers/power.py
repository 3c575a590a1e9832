"""Restarts services and the board through systemd, and a modem through the power switch of a USB port, to restore a lost link.

A hub that can switch power per port has a file `disable` for each port (Linux 6.0, Documentation/ABI/testing/sysfs-bus-usb).
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from privacy.errors import StorageError
from privacy.files import on_disk

OFF_S = 10.0
_WAIT_S = 60


def systemctl(*words: str) -> None:
    """Run `systemctl --no-block` with these arguments; `StorageError` if it fails."""
    with on_disk("systemctl", "a node needs systemd"):
        done = subprocess.run(["systemctl", "--no-block", *words], capture_output=True, timeout=_WAIT_S, check=False)
    if done.returncode:
        raise StorageError(
            f"systemctl {' '.join(words)}: {done.stderr.decode(errors='replace').strip()}", "journalctl -u lykta-link"
        )


def usb_port(devices: Path, port: str) -> Path:
    """The file that switches a port's power. port: "1-1.2" is port 2 of the hub 1-1, "1-2" port 2 of the root hub usb1.

    devices  /sys/bus/usb/devices
    """
    hub, dot, number = port.rpartition(".")
    if not dot:
        bus, _, number = port.partition("-")
        return devices / f"{bus}-0:1.0" / f"usb{bus}-port{number}" / "disable"
    return devices / f"{hub}:1.0" / f"{hub}-port{number}" / "disable"


def cut_usb(switch: Path, off_s: float = OFF_S) -> None:
    """Switch the power of a port off for some seconds, and on again in any case; `StorageError` if a write fails."""
    try:
        switch.write_text("1")
        try:
            time.sleep(off_s)
        finally:
            switch.write_text("0")
    except OSError as problem:
        raise StorageError(
            f"modem: {switch}: {problem.strerror}", "can this hub switch power? is modem.usb_port right?"
        ) from problem
