"""`make test-pi`: the acceptance list for a real Raspberry Pi, in one file to send in. As root, with the node installed.

usage: python -m tests.hardware.run [--out FILE] [--load SECONDS]
Each item is PASS, FAIL or SKIP with a figure or a reason; off a Pi most are skipped. No serial number, key, name or picture
is in it. Exit 0: nothing failed; 1: something did.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.hardware import board
from tests.hardware.board import Result

HERE = Path(__file__).parent
PYTHON = Path("/opt/lykta/bin/python")
UNITS = Path("/usr/lib/systemd/system")
RUNTIME = Path("/run/systemd/system")
SCHEMA = "lykta.acceptance/1"
_OTHERS = ("Type", "ExecStart", "Restart", "WatchdogSec", "NotifyAccess", "LoadCredentialEncrypted", "SetCredential")
"""What the tried unit has in its own way: it runs once, tells nobody, and needs no key. All else is the unit's own."""
_LIMIT_S = 180
_REST_S = 20
IO_MB, IO_PERCENT, BOOT_S = 40.0, 1.0, 60.0


def tried_unit(text: str, service: str, program: Path, out: Path) -> str:
    """A service's unit with another program in its place, which comes by standard input: [Service] alone is kept."""
    body = text.split("[Service]\n", 1)[1].split("\n[", 1)[0]
    kept = [line for line in body.splitlines() if line.split("=")[0] not in _OTHERS]
    own = [
        *("Type=oneshot", "Restart=no", f"ExecStart={PYTHON} - {service}", f"StandardInput=file:{program}"),
        *(f"StandardOutput=truncate:{out}", f"TimeoutStartSec={_LIMIT_S}"),
    ]
    return "\n".join(["[Service]", *kept, *own, ""]).replace("\nTimeoutStartSec=60\n", "\n")


def without(*needs: Path) -> str:
    """Why a unit cannot be tried here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if board.read(Path("/proc/1/comm")) != "systemd":
        return "systemd is not this machine's first process"
    absent = [str(path) for path in needs if not path.exists()]
    return f"not installed: {', '.join(absent)}" if absent else ""


def sandbox(service: str) -> dict[str, Result]:
    """What the service does with the hardware, in its own sandbox: one result for each step."""
    unit, name = UNITS / f"lykta-{service}.service", f"lykta-acceptance-{service}.service"
    if why := without(PYTHON, unit):
        return {f"sandbox of {service}": Result("SKIP", why)}
    folder = Path("/run/lykta-acceptance")
    folder.mkdir(exist_ok=True)
    program, out = folder / "program", folder / f"{service}.json"
    program.write_bytes((HERE / "sandboxed.py").read_bytes())
    (RUNTIME / name).write_text(tried_unit(unit.read_text(), service, program, out))
    try:
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)
        done = subprocess.run(["systemctl", "start", name], capture_output=True, text=True, timeout=_LIMIT_S + 30, check=False)
        return steps(service, out.read_text() if out.exists() else "", done.stderr.strip() or ended(name))
    finally:
        (RUNTIME / name).unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)


def ended(unit: str) -> str:
    words = ["systemctl", "show", "-p", "Result", "-p", "ExecMainStatus", "-p", "ExecMainCode", unit]
    return " ".join(subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout.split())


def steps(service: str, text: str, why: str) -> dict[str, Result]:
    """The program's own words. None at all is the finding that it was killed, by seccomp for one."""
    if not text.strip():
        return {f"sandbox of {service}": Result("FAIL", f"the program said nothing: {why}")}
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return {
        f"{service}: {step.replace('_', ' ')}": Result("PASS" if told["passed"] else "FAIL", told["figure"])
        for step, told in found.items()
    }


def encoder() -> Result:
    devices = [path for path in sorted(Path("/sys/class/video4linux").glob("video*")) if "codec" in board.read(path / "name")]
    if not devices:
        return Result("SKIP", "no V4L2 codec: a Pi 5 has none, and encodes by libx264")
    return Result("PASS", ", ".join(f"{path.name} {board.read(path / 'name')}" for path in devices))


def pins() -> Result:
    """The lines' state as lykta-io has it, which holds them."""
    chips = sorted(path.name for path in Path("/dev").glob("gpiochip*"))
    if not chips:
        return Result("SKIP", "no pin chip")
    if why := without(PYTHON):
        return Result("SKIP", f"chips {', '.join(chips)}; {why}")
    words = [str(PYTHON), "-c", _ASK_IO]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        return Result("FAIL", f"chips {', '.join(chips)}; lykta-io: {done.stderr.strip().splitlines()[-1]}")
    told = json.loads(done.stdout)
    return Result("PASS" if told["state"] == "ready" else "FAIL", f"chips {', '.join(chips)}; lykta-io is {told}")


_ASK_IO = """
import json, sys
from pathlib import Path
import msgspec
from agent.runtime.ask_status import io_status
from provisioning.layout import Layout
status = msgspec.to_builtins(io_status(Layout(Path("/"))))
names = ("help_button", "door", "tamper", "light_current", "light_sensor", "motion", "lamp")
parts = status["detail"]["parts"] | {"lamp": status["detail"]["lamp"]}
detail = {name: parts[name] for name in names if name in parts}
json.dump({"state": status["standing"]["state"]} | detail, sys.stdout)
"""


def boot_time() -> Result:
    """From the kernel's start to a camera that said READY."""
    if why := without():
        return Result("SKIP", why)
    words = ["systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic", "lykta-camera"]
    microseconds = int(subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip() or 0)
    if not microseconds:
        return Result("FAIL", "lykta-camera has not been ready since this boot")
    seconds = microseconds / 1e6
    return Result(
        "PASS" if seconds <= BOOT_S else "FAIL", f"camera ready {seconds:.1f} s after the kernel began (or since its last start)"
    )


def io_at_rest() -> Result:
    if why := without():
        return Result("SKIP", why)
    words = ["systemctl", "show", "--value", "-p", "MainPID", "lykta-io"]
    pid = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    if pid in ("", "0"):
        return Result("FAIL", "lykta-io does not run")
    begin, before = time.monotonic(), ticks(pid)
    time.sleep(_REST_S)
    share = (ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begin) * 100
    (resident,) = re.findall(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    megabytes = int(resident) / 1024
    fine = megabytes < IO_MB and share < IO_PERCENT
    return Result("PASS" if fine else "FAIL", f"{megabytes:.1f} MB resident, {share:.2f} % of a core over {_REST_S} s")


def ticks(pid: str) -> int:
    """utime and stime, fields 14 and 15 of proc_pid_stat(5); the name before them may hold spaces."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def load(seconds: float) -> None:
    """All cores, as a node that films does not even need."""
    workers = [multiprocessing.Process(target=spin, args=(seconds,)) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(10_000))


def everything(root: Path, load_s: float) -> dict[str, Result]:
    items: dict[str, Callable[[], Result]] = {
        "board": lambda: board.model(root),
        "boot": boot_time,
        "io at rest": io_at_rest,
        "pins": pins,
        "hardware encoder": encoder,
        "tpm": lambda: board.tpm(root),
        "real-time clock": lambda: board.clock(root),
        "hardware watchdog": lambda: board.watchdog(root),
        "storage wear": lambda: board.wear(root),
    }
    found = {}
    for name, look in items.items():
        found[name] = looked(look)
    for service in ("camera", "io"):
        found |= sandbox(service)
    return found | {"heat": looked(lambda: board.heat(root, lambda: load(load_s)))}


def looked(look: Callable[[], Result]) -> Result:
    """A board that answers oddly is a finding, not the end of the list."""
    try:
        return look()
    except (OSError, ValueError, subprocess.SubprocessError) as problem:
        return Result("FAIL", f"{type(problem).__name__}: {problem}")


def document(found: dict[str, Result]) -> dict[str, Any]:
    release = platform.freedesktop_os_release()
    return {
        "schema": SCHEMA,
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": platform.machine(),
        "kernel": platform.release(),
        "system": release["PRETTY_NAME"],
        "python": platform.python_version(),
        "items": {name: {"outcome": result.outcome, "figure": result.figure} for name, result in found.items()},
    }


def summary(found: dict[str, Result]) -> str:
    count = {outcome: sum(result.outcome == outcome for result in found.values()) for outcome in ("PASS", "FAIL", "SKIP")}
    rows = [f"{result.outcome:4}  {name}: {result.figure}" for name, result in found.items()]
    return "\n".join([*rows, f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped", ""])


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.hardware.run")
    parser.add_argument("--out", type=Path, default=Path("out/acceptance.json"))
    parser.add_argument("--load", type=float, default=60.0, help="seconds of load on all cores before the heat is read")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where /sys and /proc lie")
    chosen = parser.parse_args(words)
    found = everything(chosen.root, chosen.load)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(document(found), indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(summary(found) + f"send in {chosen.out}\n")
    return 1 if any(result.outcome == "FAIL" for result in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
