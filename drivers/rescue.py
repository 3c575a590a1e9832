"""What gets a dead link going: the service manager, and the modem's power by a USB hub's port or a pin. As root."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Protocol

from privacy.errors import LyktaError

OFF_S = 10.0


class Acts(Protocol):
    """`LyktaError` if the machine does not do it."""

    def restart(self, unit: str) -> None: ...
    def cut_port(self, port: str) -> None: ...
    def cut_line(self, chip: str, line: int) -> None: ...
    def reboot(self) -> None: ...


class Machine:
    """The real one."""

    def restart(self, unit: str) -> None:
        _systemctl("restart", unit)

    def cut_port(self, port: str) -> None:
        _switch(port_file(Path("/"), port), OFF_S)

    def cut_line(self, chip: str, line: int) -> None:
        # gpiozero comes with it: only where a pin is fitted.
        from drivers.gpiod_pins import pulse

        pulse(chip, line, OFF_S)

    def reboot(self) -> None:
        _systemctl("reboot")


class Rehearsal:
    """For a node in a folder: notes in run/lykta/rehearsed what would be done. A port that is not in its sysfs fails here too."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def restart(self, unit: str) -> None:
        self._note(f"restart {unit}")

    def cut_port(self, port: str) -> None:
        _switch(port_file(self._root, port), 0.0)
        self._note(f"port {port}")

    def cut_line(self, chip: str, line: int) -> None:
        if not (self._root / chip.lstrip("/")).exists():
            raise LyktaError(f"modem: {chip}: is not there", "is pins.chip right?")
        self._note(f"line {chip} {line}")

    def reboot(self) -> None:
        self._note("reboot")

    def _note(self, what: str) -> None:
        path = self._root / "run/lykta/rehearsed"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"{what}\n")


def acts_of(root: Path) -> Acts:
    return Machine() if root == Path("/") else Rehearsal(root)


def port_file(root: Path, port: str) -> Path:
    """Of a port as 1-1.2, on the hub 1-1, or 1-2, on the root hub (Linux >= 6.0, ABI/testing/sysfs-bus-usb)."""
    hub, dot, number = port.rpartition(".")
    if not dot:
        bus, _, number = port.partition("-")
        return root / f"sys/bus/usb/devices/{bus}-0:1.0/usb{bus}-port{number}/disable"
    return root / f"sys/bus/usb/devices/{hub}:1.0/{hub}-port{number}/disable"


def _switch(disable: Path, seconds: float) -> None:
    """Off, a pause, on again; also on again if it is told to end in between."""
    try:
        if not disable.exists():
            raise LyktaError(f"modem: {disable}: is not there", "modem.usb_port: does this hub switch power? kernel >= 6.0?")
        try:
            disable.write_text("1")
            time.sleep(seconds)
        finally:
            disable.write_text("0")
    except OSError as problem:
        raise LyktaError(f"modem: {disable}: {problem.strerror}", "this hub does not switch its ports") from problem


def _systemctl(*words: str) -> None:
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=90, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise LyktaError(f"systemctl {' '.join(words)}: {problem}", "is systemd running here?") from problem
    if done.returncode:
        raise LyktaError(f"systemctl {' '.join(words)}: {done.stderr.strip()}", "journalctl -u lykta-link")
