"""`make test-vm`: what only a machine of its own can show. Root; many minutes without KVM.

usage: python -m tests.vm.run [--log FILE] [--keep DIR]
Exit 0: every check passed; 1: one failed, or the machine did not end by itself; 6: something that it needs is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.powercut import disk
from tests.support.nodes import PROJECT
from tests.vm.machine import Machine, accelerator, tpm
from tests.vm.node import SYSTEM, VirtualNode, make_system

_LIMIT_S = {"kvm": 420.0, "tcg": 1500.0}
_PATIENCE = {"kvm": 1, "tcg": 6}
"""Minutes that the node is waited for."""
_WATCHDOG_S = {"kvm": 14, "tcg": 40}
"""RuntimeWatchdogSec: the node's own, or what an emulated PID 1 can keep."""
_POWERS = 3
"""So often a machine is switched on until its kernel lives long enough for the node to speak."""
_NEEDS = ("qemu-system-x86_64", "qemu-img", "swtpm", "mke2fs", "mkswap", "mmdebstrap", "unshare")


@dataclass(frozen=True)
class Row:
    outcome: str
    check: str
    figure: str

    def __str__(self) -> str:
        return f"{self.outcome:4}  {self.check}: {self.figure}"


def missing() -> str:
    if os.geteuid() != 0:
        return "needs root"
    absent = [name for name in _NEEDS if not shutil.which(name)]
    return f"needs {', '.join(absent)}: provisioning/setup/setup.sh vm" if absent else ""


def boots(folder: Path, node_disk: Path, accel: str) -> list[Row]:
    """Three boots of the node in its machine, then one of the same disk in another."""
    swap = folder / "swap"
    with swap.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkswap", "-q", str(swap)], check=True, timeout=60)
    rows: list[Row] = []
    for name, line, judge in (("own", "", judged), ("other", "lab=stolen", other_judged)):
        for power in range(1, _POWERS + 1):
            place = folder / f"{name}-{power}"
            place.mkdir()
            machine = Machine(place, accel)
            with tpm(folder / f"{name}-tpm") as socket:
                ended = machine.run(node_disk, swap, SYSTEM, socket, line, _LIMIT_S[accel])
            if machine.lines:
                break
        rows += [Row(said["outcome"], said["check"], said["figure"]) for _, said in machine.lines if "check" in said]
        rows += judge(machine)
        rows.append(
            Row(
                "PASS" if ended else "FAIL",
                f"{name} machine: switched itself off",
                f"in time, power {power} of {_POWERS} at most" if ended else console(place),
            )
        )
    return rows


def console(place: Path) -> str:
    return (place / "console").read_text(errors="replace").strip()[-1500:]


def judged(machine: Machine) -> list[Row]:
    """The two resets: by the watchdog, within its time, and a boot after each."""
    moments = {str(said["now"]): when for when, said in machine.lines if "now" in said}
    rows = []
    for number, what in enumerate(("PID 1 crashes", "the kernel crashes")):
        reset = machine.resets[number] if len(machine.resets) > number else None
        begin, again = moments.get(what), moments.get(f"boot {number + 2}")
        if begin is None or reset is None or again is None:
            rows.append(Row("FAIL", f"{what}: the watchdog resets the machine", "no reset, or no boot after it"))
            continue
        # It is petted at half its time, and counts twice: once to warn, once to act.
        passed = 0 < reset - begin <= _WATCHDOG_S[machine.accel] + 3
        figure = f"after {reset - begin:.1f} s, up again {again - reset:.1f} s later"
        rows.append(Row("PASS" if passed else "FAIL", f"{what}: the watchdog resets the machine", figure))
    return rows


def other_judged(machine: Machine) -> list[Row]:
    return [] if machine.lines else [Row("FAIL", "other machine: boots", console(machine.folder))]


def write_log(path: Path, rows: list[Row], accel: str, kernel: str, seconds: float) -> None:
    commit = subprocess.run(
        ["git", "-C", str(PROJECT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    count = {outcome: sum(row.outcome == outcome for row in rows) for outcome in ("PASS", "FAIL", "SKIP")}
    head = (
        f"make test-vm, {datetime.now(UTC):%Y-%m-%d}, after commit {commit.stdout.strip()}: Debian 13, Linux {kernel}, "
        f"QEMU by {accel.upper()}, 2 processors\n"
        f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped in {seconds:.0f} s\n\n"
    )
    path.write_text(head + "".join(f"{row}\n" for row in rows))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.vm.run")
    parser.add_argument("--log", type=Path, default=PROJECT / "docs/test-vm.log")
    parser.add_argument("--keep", type=Path, help="folder that stays, for looking into")
    chosen = parser.parse_args()
    if why := missing():
        sys.stderr.write(f"error: test-vm: {why}\n")
        return 6
    if disk.INSIDE not in os.environ:
        return subprocess.run([*disk.ALONE, sys.executable, "-m", "tests.vm.run", *sys.argv[1:]], check=False).returncode
    with tempfile.TemporaryDirectory(prefix="lykta-vm-") as spare:
        return judge_all(chosen.keep or Path(spare), chosen.log)


def judge_all(folder: Path, log: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    begin, image = time.monotonic(), folder / "disk.img"
    make_system()
    accel = accelerator(SYSTEM / "vmlinuz")
    sys.stderr.write(f"vm: QEMU by {accel.upper()}\n")
    VirtualNode(folder / "installed", _PATIENCE[accel], _WATCHDOG_S[accel]).disk(image)
    layer = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image), str(layer)], check=True)
    rows = boots(folder, layer, accel)
    kernel = next((SYSTEM / "layer/usr/lib/modules").iterdir()).name
    write_log(log, rows, accel, kernel, time.monotonic() - begin)
    sys.stderr.write(log.read_text())
    return 1 if any(row.outcome == "FAIL" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
